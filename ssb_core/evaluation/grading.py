r"""Grading completions against gold answers, for anyone who has both as JSON lines.

    {"gold": "1/2", "completion": "so \\boxed{0.5}"}  ->  {"status": "correct", "answer": "0.5", ...}

Verdicts come in input order while the input is still being read. If nothing can be verified against a gold answer, the
completion is not to blame: the pair gets the status ``rejected`` and a reason, and counts as neither right nor wrong.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from .. import verify
from ..errors import ConfigError
from ..problems import jsonl
from ..progress import Progress
from ..records import AnswerForm, Verdict
from ..store import atomic_write
from ..verify import extract
from . import statistics

STDIN = Path("-")
SHOWN = 5  # unverifiable golds that the summary lists one by one


@dataclass(frozen=True, slots=True)
class Pair:
    """One line of the input.

    `gold` is the answer in the gold field; `unverifiable` is the reason why nothing can be verified against it, if
    there is one. `copied` holds the fields that the output repeats: the id, if the line has one.
    """

    line: int
    gold: str
    completion: str
    unverifiable: str | None
    copied: dict[str, Any]


@dataclass
class Tally:
    """Counts over all verdicts. `unverifiable` has the line and reason of each such gold; `statuses` skips those."""

    form: AnswerForm
    statuses: Counter[str] = field(default_factory=Counter)
    string_matches: int = 0
    unverifiable: list[tuple[int, str]] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, pair: Pair, verdict: Verdict) -> None:
        """Count one verdict."""
        if pair.unverifiable:
            self.unverifiable.append((pair.line, pair.unverifiable))
        else:
            self.statuses[verdict.status] += 1
            self.string_matches += verdict.matches_literally(pair.gold)

    def __str__(self) -> str:
        n = self.statuses.total()
        lines = {"graded": f"{n:,} of {n + len(self.unverifiable):,} pairs, form {self.form}"}
        if n:
            low, high = statistics.wilson(self.statuses["correct"], n)
            lines["accuracy"] = f"{self.statuses['correct'] / n:.1%}, 95% interval {low:.1%} to {high:.1%} (Wilson)"
            lines["string match"] = f"{self.string_matches / n:.1%} if answers had to be written exactly as the gold is"
            lines["verdicts"] = ", ".join(f"{count:,} {status}" for status, count in self.statuses.most_common())
            lines["speed"] = f"{n / self.seconds:,.0f} verdicts/s"
        if self.unverifiable:
            first = ", ".join(f"line {line} ({reason})" for line, reason in self.unverifiable[:SHOWN])
            more = ", ..." if len(self.unverifiable) > SHOWN else ""
            lines["unverifiable"] = f"{len(self.unverifiable):,}, counted as neither right nor wrong: {first}{more}"
        lines["versions"] = ", ".join(f"{name} {version}" for name, version in verify.versions().items())
        return "\n".join(f"{name:<12}  {words}" for name, words in lines.items())


def check(source: Path, form: AnswerForm, out: Path | None) -> int | None:
    """Check every pair of a file and count them. Returns None for standard input or a pipe: they can be read only once.

    Raises:
        ConfigError: the source is missing or empty, one of its lines is not a pair, or `out` must not be replaced.
    """
    if out and out.exists() and (not out.is_file() or (source.exists() and out.samefile(source))):
        raise ConfigError(f"--out {out} is {'the input' if out.is_file() else 'not a file'}; give another name")
    if source != STDIN and (not source.exists() or source.is_dir()):
        raise ConfigError(f"{source} is not a file; give one of JSON lines, or - for standard input")
    if not source.is_file():
        return None
    with source.open("rb") as file:
        return sum(1 for _ in pairs(jsonl.read_lines(file), str(source), form))


def run(source: Path, form: AnswerForm, total: int | None, write: Callable[[str], object], progress: Progress) -> Tally:
    """Grade the pairs of a file, or of standard input, and `write` a line of JSON for each.

    Raises:
        ConfigError: the input could not be checked beforehand, and it is empty or one of its lines is not a pair.
    """
    tally, started = Tally(form), time.perf_counter()
    progress.begin("grade", total or 0, "pairs")
    opened: AbstractContextManager[IO[bytes]] = nullcontext(sys.stdin.buffer) if source == STDIN else source.open("rb")
    with opened as file:
        name = "standard input" if source == STDIN else str(source)
        for pair, verdict, gold_key in grade(pairs(jsonl.read_lines(file), name, form), form):
            tally.add(pair, verdict)
            write(_line(pair, verdict, gold_key))
            progress.advance()
    progress.end()
    tally.seconds = time.perf_counter() - started
    return tally


@contextmanager
def output(path: Path | None) -> Iterator[Callable[[str], object]]:
    """A function that writes lines: to standard output at once, or to the file `path`, which appears when complete."""
    if path is None:
        stdout = sys.stdout  # progress bars replace sys.stdout
        yield lambda line: print(line, end="", file=stdout, flush=True)
        return
    with atomic_write(path) as temporary, temporary.open("w", encoding="ascii") as file:
        yield file.write


def pairs(lines: Iterable[bytes], name: str, form: AnswerForm) -> Iterator[Pair]:
    """Read pairs from JSON lines; errors call the file `name`.

    Raises:
        ConfigError: there are none, or a line is not a JSON object with the fields gold and completion.
    """
    pair = None
    for row, number in jsonl.parse_lines(lines, name):
        pair = _pair(row, number, f"{name} line {number}", form)
        yield pair
    if pair is None:
        raise ConfigError(f"{name} holds no pairs; each line is a JSON object with the fields gold and completion")


def _pair(row: dict[str, Any], number: int, where: str, form: AnswerForm) -> Pair:
    for name in ("gold", "completion"):
        if row.get(name) is None:
            raise ConfigError(
                f"{where}: no field {name!r}; the fields are: {', '.join(row) or 'none'}\n"
                "  remedy: give every line the fields gold (the reference answer) and completion (the text to grade)"
            )
    if not isinstance(row["completion"], str):
        raise ConfigError(f"{where}: field 'completion' must be text, found {row['completion']!r:.60}")
    gold = reference_answer(jsonl.field_text(row["gold"], "gold", where), form)
    copied = {"id": row["id"]} if "id" in row else {}
    return Pair(number, gold, row["completion"], verify.unverifiable(gold, form), copied)


def reference_answer(raw: str, form: AnswerForm) -> str:
    """The answer in a gold field: the content of its box or of its #### line, otherwise the whole text.

    The completions may have another form.

    >>> reference_answer("3 + 4 = 7\\n#### 7", "boxed")
    '7'
    """
    bare = raw.strip()
    if form == "exact":
        return bare
    forms: tuple[AnswerForm, ...] = (form, "boxed", "hash")
    answers = (extract.gold_answer(raw, f) for f in forms)
    return next((answer for answer in answers if answer not in (None, bare)), None) or bare


def grade(pairs: Iterable[Pair], form: AnswerForm) -> Iterator[tuple[Pair, Verdict, str | None]]:
    """Yield every pair with its verdict and the key of its gold answer, lazily and in order."""
    waiting: deque[Pair] = deque()  # pairs that were read and not yielded yet

    def verifiable() -> Iterator[tuple[str, str]]:
        for pair in pairs:
            waiting.append(pair)
            if not pair.unverifiable:
                yield pair.completion, pair.gold

    with verify.Verifier(form) as verifier:
        for verdict in verifier.grade(verifiable()):
            while waiting[0].unverifiable:
                yield waiting.popleft(), Verdict("rejected"), None
            pair = waiting.popleft()
            gold_key = verifier.key(pair.gold)
            if gold_key is None and verdict.unverified:
                pair = replace(pair, unverifiable="it could not be computed")
            yield pair, verdict, gold_key
        yield from ((pair, Verdict("rejected"), None) for pair in waiting)


def _line(pair: Pair, verdict: Verdict, gold_key: str | None) -> str:
    """One line of output in ASCII, because an answer may contain half a surrogate pair."""
    graded = {"status": verdict.status, "answer": verdict.answer, "key": verdict.key, "gold_key": gold_key}
    reason = {"reason": pair.unverifiable} if pair.unverifiable else {}
    return json.dumps({**pair.copied, **graded, "seconds": round(verdict.seconds, 6), **reason}) + "\n"
