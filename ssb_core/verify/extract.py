r"""Find the final answer in untrusted text. Prose is never scanned.

A truncated "... so x = 7" has no answer. Scanning it for numbers would reward a completion for an answer that it never
gave. So only an explicit marker counts: a box, ``####``, or the whole text if the problem set says so.
"""

from __future__ import annotations

import re

from ..records import AnswerForm

# An escape is one token, so that in \boxed{\{1,2\}} only the unescaped braces count.
_TOKEN = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_TYPESETTING = re.compile(r"\\(?:text(?:bf|it|rm)?|mathrm|mathbf|mbox)\s*|[{}$*]")
_PICK = re.compile(r"\s*(?:\(([A-E])\)|([A-E])(?=\s*$|[).:,]))", re.IGNORECASE)
_ANOTHER = re.compile(r"\(([A-E])\)|(?<![A-Za-z])([A-E])[).:]", re.IGNORECASE)  # marked as a choice
_BETWEEN = r"\W*?(?:,|;|/|&|\b(?i:or|and|vs)\b|\\lor\b)\W*"
_JOINED = re.compile(rf"\W*(?:[A-E]{_BETWEEN}[A-E]|[a-e]{_BETWEEN}[a-e])(?![A-Za-z])")


def final_answer(text: str, form: AnswerForm = "boxed") -> str | None:
    r"""The final answer of `text`, stripped, or None if there is none. Text before a closing ``</think>`` is ignored.

    The `form` decides where the answer is:

    - ``boxed``: in the last balanced ``\boxed{}`` or ``\fbox{}``; of nested boxes the outermost counts.
    - ``hash``: after the last ``####``, up to the end of that line.
    - ``choice``: in the last box. Without a box, the whole text may be a choice and nothing else.
    - ``exact``: the answer is the whole text.

    An empty box is the empty answer ``""``, which is not a missing answer.
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
    """The reference answer in a data set's answer field. None if it is missing or empty.

    With ``boxed`` and ``choice``, a field without a box is the answer itself: MATH's `solution` has a box, its `answer`
    has none.
    """
    answer = final_answer(raw, form)
    if answer is None and form in ("boxed", "choice"):
        answer = raw.strip()
    return answer or None


def choice(answer: str) -> str | None:
    r"""The letter A to E that an answer picks, as in ``B``, ``(b)``, ``\text{(B)}`` or ``B. 12 cm``; None if none."""
    plain = _TYPESETTING.sub("", answer[:200])
    pick = _PICK.match(plain)
    if not pick or _JOINED.match(plain):
        return None
    letters = {(m[1] or m[2]).upper() for m in _ANOTHER.finditer(plain)} | {(pick[1] or pick[2]).upper()}
    return letters.pop() if len(letters) == 1 else None  # "A or B" picks no letter


def _last_box(text: str) -> str | None:
    """The content of the balanced box that closes last. One pass over the braces finds it."""
    opened: list[int | None] = []  # start of the content of each open group; None if the group is not a box
    last = None
    for token in _TOKEN.finditer(text):
        if token[0] == "}":
            start = opened.pop() if opened else None
            if start is not None:
                last = start, token.start()
        elif token[0].endswith("{") and token[0] != r"\{":
            opened.append(None if token[0] == "{" else token.end())
    return text[slice(*last)].strip() if last else None
