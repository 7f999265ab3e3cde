"""Read problem sets into `Problem` records. A set is embedded, a local file (JSON lines or Parquet) or on the hub.

Data is checked here, before any expensive work. A missing field, an empty question or a repeated id is refused with the
file, the row and the remedy. A problem is unverifiable if nothing can be verified against its reference answer. Every
completion would be wrong by that answer, so the problem is left out and its reason is kept. Rows are read one at a
time, and no row stays in memory (see `problem_set`).
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
from ..config.secrets import hub_token, redact
from ..errors import ConfigError
from ..records import Problem, Rejection
from ..suggest import did_you_mean
from ..verify import extract
from . import jsonl, nano
from .problem_set import ProblemSet, Spool, first_positions, text_key

BATCH_ROWS = 1024  # rows of a Parquet file that are in memory at a time
FILE_SUFFIXES = (".jsonl", ".ndjson", ".parquet")  # a source with one of these is a file, whether it exists or not

# name: (split, possible numbers of steps, number of problems)
EMBEDDED: dict[str, tuple[nano.Split, tuple[int, ...], int]] = {
    "nano-train": ("train", (1, 2, 3), 4096),
    "nano-test": ("test", (1, 2, 3), 512),
    "nano-hard": ("test", (4, 5), 256),
}


def load_problems(config: ProblemsConfig) -> ProblemSet:
    """The verifiable problems of a set in the configured order, after `skip` and `limit`.

    Raises:
        ConfigError: the source is missing, empty or malformed, a row has no question or answer, an id repeats, or no
            problem is left.
    """
    return _read(config)[0]


def load_unchanged(config: ProblemsConfig, digest: str, start: int = 0, stop: int | None = None) -> ProblemSet:
    """Problems `start` to `stop` of a set that was read before and then had this content `digest`.

    Raises:
        ConfigError: the content has changed since.
    """
    problems = load_problems(config)
    part = problems if stop is None else problems.part(start, stop)
    if part.content_digest() != digest:
        raise ConfigError(f"{config.source}: its problems changed during the run\n  remedy: run the same command again")
    return part


def count_verifiable(config: ProblemsConfig) -> int:
    """The number of verifiable problems in the whole set, before `skip` and `limit`. Raises as `load_problems` does."""
    return _read(config)[2]


def is_on_hub(config: ProblemsConfig) -> bool:
    """Whether a set is read from the hub, so neither from a file nor embedded."""
    return config.source not in EMBEDDED and Path(config.source).suffix not in FILE_SUFFIXES


def unverifiable(config: ProblemsConfig) -> ProblemSet:
    """The unverifiable problems of the whole set, before `skip` and `limit`. Raises as `load_problems` does.

    Their `answer` is the whole answer field, as it was read.
    """
    return _read(config)[1]


def rejections(config: ProblemsConfig) -> tuple[Rejection, ...]:
    """The reason for each of the `unverifiable` problems. Raises as `load_problems` does."""
    return tuple(_rejection(p, config) for p in unverifiable(config))


def _rejection(problem: Problem, config: ProblemsConfig) -> Rejection:
    return Rejection(problem.id, "load", _read_gold(problem.answer, config)[1] or "")


def _read(config: ProblemsConfig) -> tuple[ProblemSet, ProblemSet, int]:
    """The set. It is read once, and again only if the size or time of its file changes."""
    version = None
    if Path(config.source).suffix in FILE_SUFFIXES and (path := _expand(config.source)).is_file():
        version = (path.stat().st_size, path.stat().st_mtime_ns)
    return _read_version(config, version)


@lru_cache(maxsize=16)
def _read_version(config: ProblemsConfig, version: tuple[int, int] | None) -> tuple[ProblemSet, ProblemSet, int]:
    """Verifiable problems in the configured order, unverifiable ones in file order, and the number of verifiable ones.

    `version` is part of the cache's key only.
    """
    ids, verifiable, rejected = bytearray(), array("I"), array("I")

    def read() -> Iterator[Problem]:
        for row, problem in enumerate(_all_problems(config)):
            gold, reason = _read_gold(problem.answer, config)
            (rejected if reason else verifiable).append(row)
            ids.extend(text_key(problem.id))
            yield problem if reason else replace(problem, answer=gold)

    spool = Spool(read())
    _refuse_repeated_ids(config, spool, ids)
    if not verifiable:
        raise ConfigError(_all_rejected(config, ProblemSet(spool, rejected)))
    if config.shuffle_seed is not None:
        random.Random(config.shuffle_seed).shuffle(verifiable)
    if config.distinct:
        verifiable = _distinct(spool, verifiable)
    selected = ProblemSet(spool, verifiable)[config.skip :][: config.limit]
    if not selected:
        raise ConfigError(
            f"{config.source}: skip is {config.skip}, but there are only {len(verifiable)} verifiable problems"
        )
    return selected, ProblemSet(spool, rejected), len(verifiable)


def _distinct(spool: Spool, order: array[int]) -> array[int]:
    """The first problem of each question. Case and spacing do not make questions different."""
    questions = bytearray()
    for p in ProblemSet(spool, order):
        questions += text_key(" ".join(p.question.lower().split()))
    return array("I", (order[i] for i in first_positions(questions)))


def _all_problems(config: ProblemsConfig) -> Iterator[Problem]:
    """All problems of the source in its own order, with the whole answer field as the answer."""
    if config.source in EMBEDDED:
        return _embedded(config.source)
    return (_problem(config, row, where) for row, where in _rows(config))


def _read_gold(raw: str, config: ProblemsConfig) -> tuple[str, str | None]:
    """The reference answer in an answer field, and the reason if it is unverifiable."""
    gold = extract.gold_answer(raw, config.form) or ""
    if not gold and raw.strip():
        return gold, f"it has no answer of form {config.form!r}"
    return gold, verify.unverifiable(gold, config.completion_form)


def _all_rejected(config: ProblemsConfig, rejected: ProblemSet) -> str:
    n, first = len(rejected), _rejection(rejected[0], config)
    return (
        f"{config.source}: no reference answer can be verified against ({n} of {n} problems are unverifiable); the "
        f"first is that of {first.problem_id!r}: {first.reason}\n"
        f"  remedy: name the field with the answer (problems.answer, now {config.answer!r}) and its form "
        f"(problems.form, now {config.form!r})"
    )


def _embedded(name: str) -> Iterator[Problem]:
    split, lengths, size = EMBEDDED[name]
    for i, chain in enumerate(islice(nano.stream(split, 0, lengths), size)):
        boxed = nano.solution(chain)
        yield Problem(f"{name}-{i:04d}", chain.question, extract.final_answer(boxed) or "", level=str(len(chain.steps)))


def _rows(config: ProblemsConfig) -> Iterator[tuple[dict[str, Any], str]]:
    """The rows of the source, each with its place, such as ``mine.jsonl line 7``."""
    path = _expand(config.source)
    exists = os.path.exists(path)  # False for a name that is too long, where pathlib raises
    if path.suffix in FILE_SUFFIXES:
        if not (exists and path.is_file()):
            problem = "is not a file" if exists else f"does not exist{did_you_mean(path.name, _neighbours(path))}"
            raise ConfigError(f"problem file {path} {problem}\n  remedy: give the path of a .jsonl or .parquet file")
        yield from _parquet(path) if path.suffix == ".parquet" else _json_lines(path)
    elif exists:
        raise ConfigError(f"{path} is not a problem file; give a .jsonl or .parquet file")
    else:
        yield from _hub(config)


def _neighbours(path: Path) -> list[str]:
    """The names of the problem files in the folder of a file."""
    folder = path.parent
    return [p.name for p in folder.iterdir() if p.suffix in FILE_SUFFIXES] if folder.is_dir() else []


def _expand(source: str) -> Path:
    """A path with ``~`` and environment variables such as ``$SSB_DATA`` replaced."""
    expanded = os.path.expandvars(source)
    if unset := re.search(r"\$\{?(\w+)", expanded):
        raise ConfigError(
            f"problem file {source}: the environment variable {unset[1]} is not set\n"
            f"  remedy: {unset[1]}=the/folder ssb ..., or write the path into the configuration"
        )
    return Path(expanded).expanduser()


def _json_lines(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    with path.open("rb") as file:
        for row, number in jsonl.parse_lines(jsonl.read_lines(file), str(path)):
            yield row, f"{path} line {number}"


def _parquet(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield row, f"{path} row {number}"
    except (OSError, ValueError, pa.ArrowException) as e:
        raise ConfigError(f"{path} is not a readable Parquet file: {e!s:.300}") from None


def _hub(config: ProblemsConfig) -> Iterator[tuple[dict[str, Any], str]]:
    import datasets

    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()  # they would tear ours apart
    try:
        rows = datasets.load_dataset(config.source, config.subset, split=config.split, token=hub_token())
    except Exception as e:  # the hub client raises a dozen unrelated types; all mean that the set is not available
        message = redact(str(e)).strip()
        reason = message.splitlines()[0] if message else type(e).__name__
        raise ConfigError(
            f"problem set {config.source!r} (split {config.split!r}) is not a local file, and the hub does not give "
            f"it: {reason:.200}{did_you_mean(config.source, EMBEDDED)}\n"
            "  remedy: check the name and the network, or give a local .jsonl or .parquet file"
        ) from None
    finally:
        if shown:
            datasets.enable_progress_bars()
    for number, row in enumerate(rows, start=1):
        yield row, f"{config.source}/{config.split} row {number}"


def _problem(config: ProblemsConfig, row: dict[str, Any], where: str) -> Problem:
    """The problem in a row, with the whole answer field as the answer."""

    def text(setting: str, field: str) -> str:
        if row.get(field) is None:
            raise ConfigError(
                f"{where}: no field {field!r}; the fields are: {', '.join(map(str, row))}\n"
                f"  remedy: name the right one with {setting}"
            )
        return _check_unicode(jsonl.field_text(row[field], field, where), field, where)

    question, answer = text("problems.question", config.question), text("problems.answer", config.answer)
    if not question.strip():
        raise ConfigError(f"{where}: the question is empty")
    identifier = text("problems.id", config.id) if config.id else _default_id(where)
    if not (identifier and identifier.isprintable()):  # ids appear in terminals, tables and web pages
        raise ConfigError(
            f"{where}: the id {identifier!r:.100} "
            f"{'contains characters that cannot be displayed' if identifier else 'is empty'}\n"
            "  remedy: name another field with problems.id, or set it to null"
        )
    label_fields = {name: field for name in ("subject", "level") if (field := getattr(config, name))}
    labels = {n: text(f"problems.{n}", field) for n, field in label_fields.items() if row.get(field) is not None}
    return Problem(identifier, question, answer, **labels)


def _check_unicode(text: str, field: str, where: str) -> str:
    """`text` itself. Half a surrogate pair is refused, because no tokenizer could read it."""
    try:
        text.encode()
    except UnicodeEncodeError as e:
        raise ConfigError(
            f"{where}: field {field!r} is not valid Unicode ({e.reason} at character {e.start})"
        ) from None
    return text


def _default_id(where: str) -> str:
    """An id from a row's place: ``mine.jsonl line 7`` is mine-00007, ``openai/gsm8k/train row 7`` gsm8k-train-00007."""
    place, _, number = where.rsplit(" ", 2)
    path = Path(place)
    name = path.stem if path.suffix else f"{path.parent.name}-{path.name}"
    return f"{name}-{int(number):05d}"


def _refuse_repeated_ids(config: ProblemsConfig, spool: Spool, ids: bytearray) -> None:
    """Refuse a set whose ids (as `text_key`s) are not unique, or that is empty."""
    if not ids:
        raise ConfigError(f"{config.source} contains no problems")
    positions = [*first_positions(ids), len(spool)]
    if len(positions) <= len(spool):
        repeated = next(row for row, position in enumerate(positions) if position != row)
        identifier = ProblemSet(spool, range(len(spool)))[repeated].id
        places = (where for row, where in _rows(config) if _problem(config, row, where).id == identifier)
        first, second = islice(places, 2)
        raise ConfigError(
            f"{second}: the id {identifier!r} is already used in {' '.join(first.rsplit(' ', 2)[1:])}\n"
            "  remedy: ids must be unique; problems.id names the field that contains them"
        )
