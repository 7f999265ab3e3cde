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
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib import metadata
from itertools import islice
from typing import NamedTuple, Self

from ..records import AnswerForm, Status, Verdict
from . import extract, structure
from .canonical import Reading
from .latex import OutOfBoundsError, UnreadableError
from .sandbox import Reply, Request, Workers

__all__ = ["VERIFY_VERSION", "Verifier", "unusable", "versions"]

VERIFY_VERSION = 3
"""Hashed into recipes; bump it with any change that can change a verdict or a key."""

WINDOW = 256  # pairs read ahead, so that their closed forms keep several workers busy
REMEMBERED = 100_000  # closed forms whose keys are kept


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """What a verdict depends on besides its two texts: our policy and the libraries that read LaTeX."""
    libraries = ("math-verify", "latex2sympy2_extended", "antlr4-python3-runtime", "sympy", "mpmath")
    return {"ssb-verify": str(VERIFY_VERSION)} | {name: metadata.version(name) for name in libraries}


def unusable(gold: str, form: AnswerForm = "boxed") -> str | None:
    """Why nothing can be verified against this gold answer, in words; None for one that can be used."""
    if form == "choice":
        return None if extract.choice(gold) else f"{gold[:40]!r} is no choice from A to E"
    try:
        structure.read(gold)
    except (UnreadableError, OutOfBoundsError) as e:
        return str(e)
    return None


class _Answer(NamedTuple):
    """An answer as far as it was read, or the status that says why it was not."""

    text: str | None
    reading: Reading | None
    status: Status | None = None


class Verifier:
    """Grades completions whose answers come in `form`; a context manager, because it may start processes.

    The closed forms of one answer may take `deadline` seconds of CPU time, in up to `workers` processes (default: one
    per core, up to 8), which start with the first closed form. Not for use by several threads at once.

    >>> with Verifier() as verifier:
    ...     [v.status for v in verifier.grade([(r"It is \\boxed{0.5}.", r"\\frac12")])]
    ['correct']
    """

    def __init__(self, form: AnswerForm = "boxed", deadline: float = 3.0, workers: int | None = None) -> None:
        self.form = form
        self._workers = Workers(workers, deadline)
        self._known: dict[str, str | None] = {}  # keys of closed forms; failures are not remembered,
        self._hopeless: dict[Request, Reply] = {}  # but for gold answers: they come up again with every completion

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

    def key(self, gold: str) -> str | None:
        """The canonical key of a gold answer; None for one that is `unusable` or could not be computed in time."""
        reading = self._read(gold).reading
        if reading is None:
            return None
        replies = self._compute([reading], [])
        return None if replies[reading.closed_forms].status else reading.key(self._known, reading)

    def _grade(self, window: Sequence[tuple[str, str]]) -> list[Verdict]:
        started = time.perf_counter()
        golds = {gold: self._gold(gold) for _, gold in window}
        answers = [self._read(extract.final_answer(completion, self.form)) for completion, _ in window]
        share = (time.perf_counter() - started) / max(1, len(window))
        replies = self._compute(golds.values(), (a.reading for a in answers if a.reading))
        return [
            self._verdict(answer, golds[gold], replies, share)
            for (_, gold), answer in zip(window, answers, strict=True)
        ]

    def _gold(self, gold: str) -> Reading:
        reading = self._read(gold).reading
        if reading is None:
            reason = unusable(gold, self.form)
            raise ValueError(f"gold answer {gold[:80]!r} cannot be used ({reason}); exclude its problem when loading")
        return reading

    def _read(self, answer: str | None) -> _Answer:
        if answer is None:
            return _Answer(None, None, "no_answer")
        chosen = extract.choice(answer) if self.form == "choice" else answer
        try:
            return _Answer(answer, structure.read(chosen or ""))
        except UnreadableError:
            return _Answer(answer, None, "unparsable")
        except OutOfBoundsError:
            return _Answer(answer, None, "rejected")
        except Exception:  # a defect of ours, which must not end a run of hours
            return _Answer(answer, None, "crashed")

    def _verdict(self, answer: _Answer, gold: Reading, replies: dict[Request, Reply], seconds: float) -> Verdict:
        text, reading, status = answer
        if reading is None:
            return Verdict(status or "unparsable", text, None, seconds)
        reply, gold_reply = replies[reading.closed_forms], replies[gold.closed_forms]
        seconds += reply.seconds
        if reading == gold:  # it need not be computed to be right
            return Verdict("correct", text, gold.key(self._known, gold), seconds)
        if status := reply.status or gold_reply.status:
            return Verdict(status, text, None, seconds)
        key = reading.key(self._known, gold)
        return Verdict("correct" if key == gold.key(self._known, gold) else "incorrect", text, key, seconds)

    def _compute(self, golds: Iterable[Reading], answers: Iterable[Reading]) -> dict[Request, Reply]:
        """Replies to the requests of these readings; the keys they hold are known from then on."""
        wanted = [r.closed_forms for r in golds]
        replies = {request: self._hopeless.get(request, Reply()) for request in wanted}
        replies |= {r.closed_forms: replies.get(r.closed_forms, Reply()) for r in answers}
        if len(self._known) > REMEMBERED:
            self._known = {}
        asked = [r for r, reply in replies.items() if not reply.status and any(c not in self._known for c in r)]
        for request, reply in self._workers.compute(asked).items():
            replies[request] = reply
            self._known |= dict(zip(request, reply.keys, strict=False))
        self._hopeless |= {request: replies[request] for request in wanted if replies[request].status}
        return replies
