"""The verifier: is a completion's final answer the problem's answer?

    completion --extract--> answer --canonical--> key == key of the gold answer

Completions are untrusted: reading one takes time linear in its length, evaluates nothing and never raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import metadata
from typing import Self

from ..records import Verdict
from . import canonical, extract
from .extract import AnswerForm

__all__ = ["VERIFY_VERSION", "AnswerForm", "Verifier", "unusable", "versions"]

VERIFY_VERSION = 1
"""Hashed into recipes; bump it with any change that can change a verdict or a key."""


def versions() -> dict[str, str]:
    """What a verdict depends on besides its two texts: our policy and the libraries that read LaTeX."""
    libraries = ("math-verify", "latex2sympy2_extended", "sympy", "mpmath")
    return {"ssb-verify": str(VERIFY_VERSION)} | {name: metadata.version(name) for name in libraries}


def unusable(gold: str, form: AnswerForm = "boxed") -> str | None:
    """Why nothing can be verified against this gold answer, in words; None for one that can be used."""
    return None if canonical.key(gold) else "it is empty"


class Verifier:
    """Grades completions whose answers come in `form`; use it as a context manager.

    >>> with Verifier() as verifier:
    ...     list(verifier.grade([(r"It is \\boxed{0.5}.", r"\\frac12")]))
    [Verdict(status='correct', answer='0.5', key='n:1/2')]
    """

    def __init__(self, form: AnswerForm = "boxed") -> None:
        self.form = form

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def grade(self, pairs: Iterable[tuple[str, str]]) -> Iterator[Verdict]:
        """One verdict per (completion, gold answer), lazily and in order.

        Raises:
            ValueError: a gold answer has no canonical key; against it every completion would be wrong.
        """
        for completion, gold in pairs:
            gold_key = canonical.key(gold)
            if gold_key is None:
                raise ValueError(f"gold answer {gold[:80]!r} cannot be parsed; exclude its problem when loading")
            yield self._verdict(completion, gold_key)

    def key(self, answer: str) -> str | None:
        """The canonical key of a gold answer; None for one that is `unusable` or could not be read in time."""
        return canonical.key(answer)

    def _verdict(self, completion: str, gold_key: str) -> Verdict:
        answer = extract.final_answer(completion, self.form)
        if answer is None:
            return Verdict("no_answer")
        key = canonical.key(answer)
        if key is None:
            return Verdict("unparsable", answer)
        return Verdict("correct" if key == gold_key else "incorrect", answer, key)
