"""The verifier: is a completion's final answer the problem's answer?

    completion --extract--> answer --canonical--> key == key of the gold answer
                                     |      ^
                        closed forms v      | keys
                                     workers

Most answers are numbers or words, whose keys are found at once and in this process. Closed forms and expressions are
sent to worker processes, which read them with math-verify's LaTeX parser. Completions are untrusted: nothing they hold
is evaluated here, everything they can ask for is bounded, and grading them never raises.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib import metadata
from itertools import islice
from typing import NamedTuple, Self

from ..records import Status, Verdict
from . import canonical, extract
from .canonical import Reading
from .extract import AnswerForm
from .latex import OutOfBoundsError, UnreadableError
from .workers import Reply, Workers

__all__ = ["VERIFY_VERSION", "AnswerForm", "Verifier", "unusable", "versions"]

VERIFY_VERSION = 2
"""Hashed into recipes; bump it with any change that can change a verdict or a key."""

WINDOW = 256  # pairs read ahead, so that their closed forms keep several workers busy
REMEMBERED = 100_000  # closed forms whose keys are kept


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """What a verdict depends on besides its two texts: our policy and the libraries that read LaTeX."""
    libraries = ("math-verify", "latex2sympy2_extended", "sympy", "mpmath")
    return {"ssb-verify": str(VERIFY_VERSION)} | {name: metadata.version(name) for name in libraries}


def unusable(gold: str, form: AnswerForm = "boxed") -> str | None:
    """Why nothing can be verified against this gold answer, in words; None for one that can be used."""
    if form == "choice":
        return None if extract.choice(gold) else f"{gold[:40]!r} is no choice from A to E"
    try:
        canonical.read(gold)
    except (UnreadableError, OutOfBoundsError) as e:
        return str(e)
    return None


class _Answer(NamedTuple):
    """An answer as far as it was read, or the status that says why it was not."""

    reading: Reading | None
    status: Status | None = None


class Verifier:
    """Grades completions whose answers come in `form`; a context manager, because it may start processes.

    `deadline` is how many seconds one closed form may take, `workers` how many processes there may be (default: one
    per core, up to 8); they start with the first closed form. Not for use by several threads at once.

    >>> with Verifier() as verifier:
    ...     [v.status for v in verifier.grade([(r"It is \\boxed{0.5}.", r"\\frac12")])]
    ['correct']
    """

    def __init__(self, form: AnswerForm = "boxed", deadline: float = 3.0, workers: int | None = None) -> None:
        self.form = form
        self._workers = Workers(workers, deadline)
        self._replies: dict[str, Reply] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._workers.close()

    def grade(self, pairs: Iterable[tuple[str, str]]) -> Iterator[Verdict]:
        """One verdict per (completion, gold answer), in order, reading at most `WINDOW` pairs ahead.

        If `pairs` raises, what it gave before that is graded first.

        Raises:
            ValueError: a gold answer is `unusable`; against it every completion would be wrong.
        """
        remaining = iter(pairs)
        more = True
        while more:
            window: list[tuple[str, str]] = []
            failure = None
            try:
                window.extend(islice(remaining, WINDOW))
            except Exception as e:
                failure = e
            more = bool(window)
            yield from self._grade(window)
            if failure:
                raise failure

    def key(self, answer: str) -> str | None:
        """The canonical key of a gold answer; None for one that is `unusable` or could not be computed in time."""
        read = self._read(answer)
        if read.reading is None:
            return None
        self._compute([read.reading])
        return None if self._failure(read.reading) else read.reading.key(self._keys(read.reading), read.reading)

    def _grade(self, window: list[tuple[str, str]]) -> Iterator[Verdict]:
        started = time.perf_counter()
        golds = {gold: self._gold(gold) for _, gold in window}
        found = [extract.final_answer(completion, self.form) for completion, _ in window]
        answers = [_Answer(None, "no_answer") if answer is None else self._read(answer) for answer in found]
        share = (time.perf_counter() - started) / max(1, len(window))
        self._compute([*golds.values(), *(a.reading for a in answers if a.reading)])
        for (_, gold), answer, text in zip(window, answers, found, strict=True):
            yield self._verdict(answer, text, golds[gold], share)

    def _gold(self, gold: str) -> Reading:
        if reason := unusable(gold, self.form):
            raise ValueError(f"gold answer {gold[:80]!r} cannot be used ({reason}); exclude its problem when loading")
        reading = self._read(gold).reading
        assert reading
        return reading

    def _read(self, answer: str) -> _Answer:
        if self.form == "choice":
            letter = extract.choice(answer)
            return _Answer(canonical.read(letter)) if letter else _Answer(None, "unparsable")
        try:
            return _Answer(canonical.read(answer))
        except UnreadableError:
            return _Answer(None, "unparsable")
        except OutOfBoundsError:
            return _Answer(None, "rejected")
        except Exception:  # a defect of ours, which must not end a run of hours
            return _Answer(None, "crashed")

    def _verdict(self, answer: _Answer, text: str | None, gold: Reading, seconds: float) -> Verdict:
        if answer.reading is None:
            return Verdict(answer.status or "unparsable", text, None, seconds)
        seconds += sum(self._replies[c].seconds for c in answer.reading.closed_forms)
        if failure := self._failure(answer.reading) or self._failure(gold):
            return Verdict(failure, text, None, seconds)
        key = answer.reading.key(self._keys(answer.reading), gold)
        right = key == gold.key(self._keys(gold), gold)
        return Verdict("correct" if right else "incorrect", text, key, seconds)

    def _compute(self, readings: Iterable[Reading]) -> None:
        """Have the workers compute what is not known yet. Failures are remembered for this window only."""
        self._replies = {c: r for c, r in self._replies.items() if r.status in (None, "rejected")}
        if len(self._replies) > REMEMBERED:
            self._replies.clear()
        missing = {c: None for reading in readings for c in sorted(reading.closed_forms) if c not in self._replies}
        if missing:
            self._replies |= self._workers.compute(missing)

    def _failure(self, reading: Reading) -> Status | None:
        return next((s for c in sorted(reading.closed_forms) if (s := self._replies[c].status)), None)

    def _keys(self, reading: Reading) -> dict[str, str | None]:
        return {c: self._replies[c].key for c in reading.closed_forms}
