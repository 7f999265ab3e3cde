"""The verifier: is a completion's final answer the problem's answer?

    completion --extract--> answer --canonical--> key == key of the gold answer
                                     |      ^
                        closed forms v      | keys
                                sandbox processes

Most answers are numbers or words. Their keys are found at once, in this process. Closed forms and expressions go to
sandbox processes, which read them with math-verify's LaTeX parser. Completions are untrusted: nothing in them is
evaluated here, every computation they can cause is bounded, and grading never raises because of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib import metadata
from itertools import islice
from typing import NamedTuple, Self

from ..records import AnswerForm, Verdict, VerdictStatus
from . import extract, structure
from .canonical import Reading
from .latex import OutOfBoundsError, UnreadableError
from .sandbox import DEADLINE, ClosedForms, Reply, Sandbox

VERIFY_VERSION = 3
"""Part of recipes. Increase it with any change that can change a verdict or a key."""

WINDOW = 256  # pairs that are read ahead, so that their closed forms keep several processes busy
MAX_KNOWN_KEYS = 100_000  # keys of closed forms that are kept in memory


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of everything that decides a verdict: our policy, and the libraries that read LaTeX."""
    libraries = ("math-verify", "latex2sympy2_extended", "antlr4-python3-runtime", "sympy", "mpmath")
    return {"ssb-verify": str(VERIFY_VERSION)} | {name: metadata.version(name) for name in libraries}


def unverifiable(gold: str, form: AnswerForm = "boxed") -> str | None:
    """The reason why nothing can be verified against this gold answer, in words. None if it can be used."""
    if form == "choice":
        return None if extract.choice(gold) else f"{gold[:40]!r} is not a choice from A to E"
    try:
        structure.read(gold)
    except (UnreadableError, OutOfBoundsError) as e:
        return str(e)
    return None


class _Answer(NamedTuple):
    """An answer and its reading, or the status that says why it has no reading."""

    text: str | None
    reading: Reading | None
    status: VerdictStatus | None = None


class Verifier:
    """Grade completions whose answers come in `form`.

    The verifier is a context manager, because it may start processes. Several threads must not share one.

    Args:
        form: how completions give their final answer.
        deadline: CPU seconds that the closed forms of one answer may take.
        processes: most sandbox processes (default: one per core, up to 8). The first starts with the first closed form.

    >>> with Verifier() as verifier:
    ...     [v.status for v in verifier.grade([(r"It is \\boxed{0.5}.", r"\\frac12")])]
    ['correct']
    """

    def __init__(self, form: AnswerForm = "boxed", deadline: float = DEADLINE, processes: int | None = None) -> None:
        self.form = form
        self._sandbox = Sandbox(processes, deadline)
        self._keys: dict[str, str | None] = {}  # keys of closed forms; failures are not kept,
        self._failed_golds: dict[ClosedForms, Reply] = {}  # except those of golds, which every completion needs again

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sandbox.close()

    def grade(self, pairs: Iterable[tuple[str, str]]) -> Iterator[Verdict]:
        """Yield one verdict per (completion, gold answer), in order. At most `WINDOW` pairs are read ahead.

        If `pairs` raises, the pairs before that are graded first.

        Raises:
            ValueError: a gold answer is `unverifiable`, so every completion would be wrong.
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
        """The canonical key of a gold answer. None if it is `unverifiable` or could not be computed in time."""
        reading = self._read(gold).reading
        if reading is None:
            return None
        replies = self._compute([reading], [])
        return None if replies[reading.closed_forms].status else reading.key(self._keys, reading)

    def _grade(self, window: Sequence[tuple[str, str]]) -> list[Verdict]:
        started = time.perf_counter()
        golds = {gold: self._read_gold(gold) for _, gold in window}
        answers = [self._read(extract.final_answer(completion, self.form)) for completion, _ in window]
        share = (time.perf_counter() - started) / max(1, len(window))
        replies = self._compute(golds.values(), (a.reading for a in answers if a.reading))
        return [
            self._verdict(answer, golds[gold], replies, share)
            for (_, gold), answer in zip(window, answers, strict=True)
        ]

    def _read_gold(self, gold: str) -> Reading:
        reading = self._read(gold).reading
        if reading is None:
            reason = unverifiable(gold, self.form)
            raise ValueError(
                f"nothing can be verified against the gold answer {gold[:80]!r} ({reason}); exclude its problem "
                "when loading"
            )
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
        except Exception:  # a bug of ours, which must not end a run of hours
            return _Answer(answer, None, "crashed")

    def _verdict(self, answer: _Answer, gold: Reading, replies: dict[ClosedForms, Reply], seconds: float) -> Verdict:
        text, reading, status = answer
        if reading is None:
            return Verdict(status or "unparsable", text, None, seconds)
        reply, gold_reply = replies[reading.closed_forms], replies[gold.closed_forms]
        seconds += reply.seconds
        if reading == gold:  # equal readings are correct even if neither can be computed
            return Verdict("correct", text, gold.key(self._keys, gold), seconds)
        if status := reply.status or gold_reply.status:
            return Verdict(status, text, None, seconds)
        key = reading.key(self._keys, gold)
        return Verdict("correct" if key == gold.key(self._keys, gold) else "incorrect", text, key, seconds)

    def _compute(self, golds: Iterable[Reading], answers: Iterable[Reading]) -> dict[ClosedForms, Reply]:
        """Compute the closed forms of these readings. Their keys are added to `_keys`."""
        of_golds = [r.closed_forms for r in golds]
        replies = {forms: self._failed_golds.get(forms, Reply()) for forms in of_golds}
        replies |= {r.closed_forms: replies.get(r.closed_forms, Reply()) for r in answers}
        if len(self._keys) > MAX_KNOWN_KEYS:
            self._keys = {}
        missing = [f for f, reply in replies.items() if not reply.status and any(c not in self._keys for c in f)]
        for forms, reply in self._sandbox.compute(missing).items():
            replies[forms] = reply
            self._keys |= dict(zip(forms, reply.keys, strict=False))
        self._failed_golds |= {forms: replies[forms] for forms in of_golds if replies[forms].status}
        return replies
