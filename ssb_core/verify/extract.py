r"""Find the final answer in untrusted text; prose is never scanned.

A truncated "... so x = 7" has no answer. Scanning it for numbers would reward a completion for what it never said,
so only an explicit marker counts: a box, ``####``, or the whole text when the problem set says so.
"""

from __future__ import annotations

import re

from ..records import AnswerForm

# Escapes are tokens of their own: in \boxed{\{1,2\}} only the unescaped braces count.
_TOKEN = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_DRESS = re.compile(r"\\(?:text(?:bf|it|rm)?|mathrm|mathbf|mbox)\s*|[{}$*]")
_PICK = re.compile(r"\s*(?:\(([A-E])\)|([A-E])(?=\s*$|[).:,]))", re.IGNORECASE)
_ANOTHER = re.compile(r"\(([A-E])\)|(?<![A-Za-z])([A-E])[).:]", re.IGNORECASE)  # marked as a choice
_BETWEEN = r"\W*?(?:,|;|/|&|\b(?i:or|and|vs)\b|\\lor\b)\W*"
_JOINED = re.compile(rf"\W*(?:[A-E]{_BETWEEN}[A-E]|[a-e]{_BETWEEN}[a-e])(?![A-Za-z])")


def final_answer(text: str, form: AnswerForm = "boxed") -> str | None:
    r"""The answer that `text` commits to, stripped, looking only behind a closing ``</think>``; None without one.

    ``boxed`` reads the last balanced ``\boxed{}`` or ``\fbox{}`` (of nested boxes the outermost), ``hash`` the line
    that follows the last ``####``, ``choice`` the last box or, without one, a text that is nothing but a choice,
    ``exact`` everything. An empty box is the empty answer ``""``, not a missing one.
    """
    text = text.rpartition("</think>")[2]
    if form == "boxed":
        return _last_box(text)
    if form == "hash":
        _, marker, text = text.rpartition("####")
        return text.strip().partition("\n")[0].strip() if marker else None
    if form == "choice":
        box = _last_box(text)
        return box if box is not None else text.strip() if len(text) < 100 and choice(text) else None
    return text.strip()


def gold_answer(raw: str, form: AnswerForm) -> str | None:
    """The reference answer out of a data set's answer field; None when it is missing or empty.

    With ``boxed`` and ``choice``, a field without a box is the answer itself: MATH's `solution` is boxed, its `answer`
    is bare.
    """
    answer = final_answer(raw, form)
    if answer is None and form in ("boxed", "choice"):
        answer = raw.strip()
    return answer or None


def choice(answer: str) -> str | None:
    r"""The letter A to E that an answer picks: ``B``, ``(b)``, ``\text{(B)}``, ``B. 12 cm``; None if it picks none."""
    plain = _DRESS.sub("", answer[:200])
    found = _PICK.match(plain)
    if not found or _JOINED.match(plain):
        return None
    letters = {(m[1] or m[2]).upper() for m in _ANOTHER.finditer(plain)} | {(found[1] or found[2]).upper()}
    return letters.pop() if len(letters) == 1 else None  # A or B picks none


def _last_box(text: str) -> str | None:
    """Content of the balanced box that closes last, in one pass over the braces."""
    opened: list[int | None] = []  # where each open group's content starts, None for a group that is no box
    last = None
    for token in _TOKEN.finditer(text):
        if token[0] == "}":
            start = opened.pop() if opened else None
            if start is not None:
                last = start, token.start()
        elif token[0].endswith("{") and token[0] != r"\{":
            opened.append(None if token[0] == "{" else token.end())
    return text[slice(*last)].strip() if last else None
