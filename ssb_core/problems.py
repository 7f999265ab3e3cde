"""Problem sets: embedded, local (JSON lines or Parquet) or from the hub, all read into `Problem` records.

Data is checked here, before any expensive work: a missing field, an empty answer or a repeated id is refused with the
file, the row and the remedy.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Iterator
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from .config import ConfigError, ProblemsConfig
from .nano import problems as nano
from .records import Problem
from .store import digest
from .verify import canonical, extract

# name: (split, numbers of steps, how many problems there are)
EMBEDDED: dict[str, tuple[nano.Split, tuple[int, ...], int]] = {
    "nano-train": ("train", (1, 2, 3), 4096),
    "nano-test": ("test", (1, 2, 3), 512),
    "nano-hard": ("test", (4, 5), 256),
}


@lru_cache(maxsize=16)
def load(config: ProblemsConfig) -> tuple[Problem, ...]:
    """All problems of a set, in the configured order.

    Raises:
        ConfigError: the source is missing, empty or malformed, or a row lacks its question or answer.
    """
    if config.source in EMBEDDED:
        found = list(_embedded(config.source))
    else:
        found = [_problem(config, row, where) for row, where in _rows(config)]
    if not found:
        raise ConfigError(f"{config.source} holds no problems")
    _refuse_repeats(config, found)
    if config.shuffle_seed is not None:
        random.Random(config.shuffle_seed).shuffle(found)
    return tuple(found[: config.limit])


def content_digest(problems: Iterable[Problem]) -> str:
    """Digest of what is asked and what is right, as shards are named by."""
    return digest([[p.id, p.question, p.answer] for p in problems])


def _embedded(name: str) -> Iterator[Problem]:
    split, lengths, size = EMBEDDED[name]
    for i, chain in enumerate(islice(nano.stream(split, 0, lengths), size)):
        boxed = nano.solution(chain)
        yield Problem(f"{name}-{i:04d}", chain.question, extract.final_answer(boxed) or "", level=str(len(chain.steps)))


def _rows(config: ProblemsConfig) -> Iterator[tuple[dict[str, Any], str]]:
    """Rows of the source, each with where it stands."""
    path = Path(config.source).expanduser()
    if path.suffix in (".jsonl", ".ndjson", ".parquet"):
        if not path.is_file():
            raise ConfigError(f"problem file {path} does not exist; give the path of a .jsonl or .parquet file")
        yield from _parquet(path) if path.suffix == ".parquet" else _json_lines(path)
    elif path.exists():
        raise ConfigError(f"{path} is not a problem file; give a .jsonl or .parquet file")
    else:
        yield from _hub(config)


def _json_lines(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"{path} line {number}"
            try:
                row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except UnicodeDecodeError as e:
                raise ConfigError(f"{where}: not valid UTF-8 ({e.reason} at byte {e.start})") from None
            except (ValueError, RecursionError) as e:
                raise ConfigError(f"{where}: not valid JSON ({e})") from None
            if not isinstance(row, dict):
                raise ConfigError(f"{where}: expected a JSON object, found {type(row).__name__}")
            yield row, where


def _parquet(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as e:
        raise ConfigError(f"{path} is not a readable Parquet file: {e}") from None
    for number, row in enumerate(table.to_pylist(), start=1):
        yield row, f"{path} row {number}"


def _hub(config: ProblemsConfig) -> Iterator[tuple[dict[str, Any], str]]:
    import datasets

    try:
        rows = datasets.load_dataset(config.source, config.subset, split=config.split)
    except Exception as e:  # the hub client raises a dozen unrelated types; all mean "cannot be had"
        first = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        raise ConfigError(
            f"problem set {config.source!r} (split {config.split!r}) is neither a local file nor to be had from "
            f"the hub: {first:.200}\n  remedy: check the name and the network, or give a local .jsonl or .parquet file"
        ) from None
    for number, row in enumerate(rows, start=1):
        yield row, f"{config.source}/{config.split} row {number}"


def _problem(config: ProblemsConfig, row: dict[str, Any], where: str) -> Problem:
    def text(name: str, field: str) -> str:
        if row.get(field) is None:
            raise ConfigError(
                f"{where}: no field {field!r}; the fields are: {', '.join(map(str, row))}\n"
                f"  remedy: name the right one with {name}"
            )
        return _text(row[field], field, where)

    question = text("problems.question", config.question)
    answer = extract.gold_answer(text("problems.answer", config.answer), config.form)
    if not question.strip():
        raise ConfigError(f"{where}: the question is empty")
    if answer is None or canonical.key(answer) is None:
        raise ConfigError(f"{where}: no readable answer in field {config.answer!r} (form: {config.form})")
    identifier = text("problems.id", config.id) if config.id else _default_id(where)
    labels = {name: str(row.get(field, "")) for name in ("subject", "level") if (field := getattr(config, name))}
    return Problem(identifier, question, answer, **labels)


def _text(value: Any, field: str, where: str) -> str:
    """Text as it is, numbers written out in full; whatever else stands in the field is refused."""
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) and math.isfinite(value):
        return f"{Decimal(repr(value)) if isinstance(value, float) else value:f}" if value % 1 else str(int(value))
    if not isinstance(value, str):
        raise ConfigError(f"{where}: field {field!r} must be text or a finite number, found {value!r:.60}")
    try:
        value.encode()
    except UnicodeEncodeError as e:
        raise ConfigError(
            f"{where}: field {field!r} is not valid Unicode ({e.reason} at character {e.start})"
        ) from None
    return value


def _default_id(where: str) -> str:
    """``openai/gsm8k/train row 7`` becomes gsm8k-train-00007, ``mine.jsonl line 7`` becomes mine-00007."""
    place, _, number = where.rsplit(" ", 2)
    path = Path(place)
    name = path.stem if path.suffix else f"{path.parent.name}-{path.name}"
    return f"{name}-{int(number):05d}"


def _refuse_repeats(config: ProblemsConfig, found: list[Problem]) -> None:
    seen: set[str] = set()
    for p in found:
        if p.id in seen:
            raise ConfigError(f"{config.source}: the id {p.id!r} stands twice; ids must be unique")
        seen.add(p.id)
