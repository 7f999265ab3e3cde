"""Problem sets: embedded, local (JSON lines or Parquet) or from the hub, all read into `Problem` records.

Data is checked here, before any expensive work: a missing field, an empty question or a repeated id is refused with the
file, the row and the remedy. A problem whose reference answer nothing can be verified against is left out, with its
reason: every completion would be wrong by it, so it must not be counted. Rows are read one at a time, and none is kept
in memory (`problem_set`).
"""

from __future__ import annotations

import os
import random
import re
from array import array
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from .. import verify
from ..config import ProblemsConfig
from ..errors import ConfigError
from ..records import Problem, Rejection
from ..verify import extract
from . import jsonl, nano
from .problem_set import ProblemSet, Spool, content_digest, firsts, key

__all__ = [
    "EMBEDDED",
    "FILES",
    "ProblemSet",
    "content_digest",
    "left_out",
    "load",
    "on_hub",
    "rejections",
    "total",
]

ROWS = 1024  # of a Parquet file that are in memory at a time
FILES = (".jsonl", ".ndjson", ".parquet")  # a source with such an ending is a file, there or not

# name: (split, numbers of steps, how many problems there are)
EMBEDDED: dict[str, tuple[nano.Split, tuple[int, ...], int]] = {
    "nano-train": ("train", (1, 2, 3), 4096),
    "nano-test": ("test", (1, 2, 3), 512),
    "nano-hard": ("test", (4, 5), 256),
}


def load(config: ProblemsConfig) -> ProblemSet:
    """The usable problems of a set, in the configured order.

    Raises:
        ConfigError: the source is missing, empty or malformed, a row lacks its question or answer, or no problem of
            the set is usable.
    """
    return _read(config)[0]


def load_unchanged(config: ProblemsConfig, digest: str, start: int = 0, stop: int | None = None) -> ProblemSet:
    """Problems `start` to `stop` of a set that has been read before, when their content had this `digest`.

    Raises:
        ConfigError: the content is another now.
    """
    problems = load_problems(config)
    part = problems if stop is None else problems.part(start, stop)
    if part.digest != digest:
        raise ConfigError(f"{config.source}: its problems changed during the run\n  remedy: run the same command again")
    return part


def total(config: ProblemsConfig) -> int:
    """How many usable problems the whole set holds, whatever `skip` and `limit` leave of it; as `load`."""
    return _read(config)[2]


def on_hub(config: ProblemsConfig) -> bool:
    """Whether a set is from the hub, and neither a file nor embedded."""
    return config.source not in EMBEDDED and Path(config.source).suffix not in FILES


def left_out(config: ProblemsConfig) -> ProblemSet:
    """The problems of the whole set, whatever its limit, that nothing can be verified against; as `load`.

    They are as they were read: an answer is all of the answer field.
    """
    return _read(config)[1]


def rejections(config: ProblemsConfig) -> tuple[Rejection, ...]:
    """Why each of them is left out; as `load`."""
    return tuple(_rejection(p, config) for p in left_out(config))


def _rejection(problem: Problem, config: ProblemsConfig) -> Rejection:
    return Rejection(problem.id, "load", _gold(problem.answer, config)[1] or "")


def _read(config: ProblemsConfig) -> tuple[ProblemSet, ProblemSet, int]:
    """The set, read once for as long as its file does not change."""
    mark = None
    if Path(config.source).suffix in FILES and (path := _expand(config.source)).is_file():
        mark = (path.stat().st_size, path.stat().st_mtime_ns)
    return _read_as(config, mark)


@lru_cache(maxsize=16)
def _read_as(config: ProblemsConfig, mark: tuple[int, int] | None) -> tuple[ProblemSet, ProblemSet, int]:
    """Usable problems in the configured order, rejected ones in the source's, and how many usable ones there are."""
    ids, usable, rejected = bytearray(), array("I"), array("I")

    def read() -> Iterator[Problem]:
        for row, problem in enumerate(_everything(config)):
            gold, reason = _gold(problem.answer, config)
            (rejected if reason else usable).append(row)
            ids.extend(key(problem.id))
            yield problem if reason else replace(problem, answer=gold)

    spool = Spool(read())
    _refuse_repeats(config, spool, ids)
    if not usable:
        raise ConfigError(_all_rejected(config, ProblemSet(spool, rejected)))
    if config.shuffle_seed is not None:
        random.Random(config.shuffle_seed).shuffle(usable)
    if config.distinct:
        usable = _distinct(spool, usable)
    wanted = ProblemSet(spool, usable)[config.skip :][: config.limit]
    if not wanted:
        raise ConfigError(f"{config.source}: skip is {config.skip}, but there are only {len(usable)} usable problems")
    return wanted, ProblemSet(spool, rejected), len(usable)


def _distinct(spool: Spool, order: array[int]) -> array[int]:
    """The first problem of each question, whatever its case and spacing."""
    questions = bytearray()
    for p in ProblemSet(spool, order):
        questions += key(" ".join(p.question.lower().split()))
    return array("I", (order[i] for i in firsts(questions)))


def _everything(config: ProblemsConfig) -> Iterator[Problem]:
    """All problems of the source as they stand there."""
    if config.source in EMBEDDED:
        return _embedded(config.source)
    return (_problem(config, row, where) for row, where in _rows(config))


def _gold(raw: str, config: ProblemsConfig) -> tuple[str, str | None]:
    """The reference answer in an answer field, and why nothing can be verified against it, if so."""
    gold = extract.gold_answer(raw, config.form) or ""
    if not gold and raw.strip():
        return gold, f"it holds no answer of form {config.form!r}"
    return gold, verify.unusable(gold, config.completion_form)


def _all_rejected(config: ProblemsConfig, rejected: ProblemSet) -> str:
    n, first = len(rejected), _rejection(rejected[0], config)
    return (
        f"{config.source}: nothing can be verified against its reference answers ({n} of {n} left out); the first is "
        f"that of {first.problem_id!r}: {first.reason}\n"
        f"  remedy: name the field with the answer (problems.answer, now {config.answer!r}) and how it holds it "
        f"(problems.form, now {config.form!r})"
    )


def _embedded(name: str) -> Iterator[Problem]:
    split, lengths, size = EMBEDDED[name]
    for i, chain in enumerate(islice(nano.stream(split, 0, lengths), size)):
        boxed = nano.solution(chain)
        yield Problem(f"{name}-{i:04d}", chain.question, extract.final_answer(boxed) or "", level=str(len(chain.steps)))


def _rows(config: ProblemsConfig) -> Iterator[tuple[dict[str, Any], str]]:
    """Rows of the source, each with where it stands."""
    path = _expand(config.source)
    there = os.path.exists(path)  # False for a name too long, where pathlib raises
    if path.suffix in FILES:
        if not (there and path.is_file()):
            what = "is not a file" if there else "does not exist"
            raise ConfigError(f"problem file {path} {what}; give the path of a .jsonl or .parquet file")
        yield from _parquet(path) if path.suffix == ".parquet" else _json_lines(path)
    elif there:
        raise ConfigError(f"{path} is not a problem file; give a .jsonl or .parquet file")
    else:
        yield from _hub(config)


def _expand(source: str) -> Path:
    """A path with ``~`` and environment variables such as ``$SSB_DATA`` in place."""
    expanded = os.path.expandvars(source)
    if unset := re.search(r"\$\{?(\w+)", expanded):
        raise ConfigError(
            f"problem file {source}: the environment variable {unset[1]} is not set\n"
            f"  remedy: {unset[1]}=the/folder ssb ..., or write the path into the configuration"
        )
    return Path(expanded).expanduser()


def _json_lines(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    with path.open("rb") as file:
        for row, number in jsonl.json_lines(jsonl.lines(file), str(path)):
            yield row, f"{path} line {number}"


def _parquet(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield row, f"{path} row {number}"
    except (OSError, ValueError, pa.ArrowException) as e:
        raise ConfigError(f"{path} is not a readable Parquet file: {e!s:.300}") from None


def _hub(config: ProblemsConfig) -> Iterator[tuple[dict[str, Any], str]]:
    import datasets

    from ..models import hub

    try:
        jsonl = datasets.load_dataset(config.source, config.subset, split=config.split, token=hub.token())
    except Exception as e:  # the hub client raises a dozen unrelated types; all mean "cannot be had"
        said = hub.redacted(str(e)).strip()
        first = said.splitlines()[0] if said else type(e).__name__
        raise ConfigError(
            f"problem set {config.source!r} (split {config.split!r}) is neither a local file nor to be had from "
            f"the hub: {first:.200}\n  remedy: check the name and the network, or give a local .jsonl or .parquet file"
        ) from None
    for number, row in enumerate(jsonl, start=1):
        yield row, f"{config.source}/{config.split} row {number}"


def _problem(config: ProblemsConfig, row: dict[str, Any], where: str) -> Problem:
    """The problem in a row, with all of its answer field as the answer."""

    def text(name: str, field: str) -> str:
        if row.get(field) is None:
            raise ConfigError(
                f"{where}: no field {field!r}; the fields are: {', '.join(map(str, row))}\n"
                f"  remedy: name the right one with {name}"
            )
        return _unicode(jsonl.text(row[field], field, where), field, where)

    question, answer = text("problems.question", config.question), text("problems.answer", config.answer)
    if not question.strip():
        raise ConfigError(f"{where}: the question is empty")
    identifier = text("problems.id", config.id) if config.id else _default_id(where)
    if not (identifier and identifier.isprintable()):  # it is shown in terminals, tables and pages
        raise ConfigError(
            f"{where}: the id {identifier!r:.100} {'holds characters that do not show' if identifier else 'is empty'}\n"
            "  remedy: name another field with problems.id, or set that to null"
        )
    named = {name: field for name in ("subject", "level") if (field := getattr(config, name))}
    labels = {n: text(f"problems.{n}", field) for n, field in named.items() if row.get(field) is not None}
    return Problem(identifier, question, answer, **labels)


def _unicode(text: str, field: str, where: str) -> str:
    """`text`, unless it holds half a character: a tokenizer could not read it."""
    try:
        text.encode()
    except UnicodeEncodeError as e:
        raise ConfigError(
            f"{where}: field {field!r} is not valid Unicode ({e.reason} at character {e.start})"
        ) from None
    return text


def _default_id(where: str) -> str:
    """``openai/gsm8k/train row 7`` becomes gsm8k-train-00007, ``mine.jsonl line 7`` becomes mine-00007."""
    place, _, number = where.rsplit(" ", 2)
    path = Path(place)
    name = path.stem if path.suffix else f"{path.parent.name}-{path.name}"
    return f"{name}-{int(number):05d}"


def _refuse_repeats(config: ProblemsConfig, spool: Spool, ids: bytearray) -> None:
    if not ids:
        raise ConfigError(f"{config.source} holds no problems")
    places = [*firsts(ids), len(spool)]
    if len(places) <= len(spool):
        repeated = next(row for row, place in enumerate(places) if place != row)
        identifier = ProblemSet(spool, range(len(spool)))[repeated].id
        jsonl = (where for row, where in _rows(config) if _problem(config, row, where).id == identifier)
        first, where = islice(jsonl, 2)
        raise ConfigError(
            f"{where}: the id {identifier!r} stands in {' '.join(first.rsplit(' ', 2)[1:])} too\n"
            "  remedy: ids must be unique; problems.id names the field that holds them"
        )
