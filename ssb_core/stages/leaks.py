"""Does a solution mention the rollouts that its teacher saw? Its reader never sees them."""

from __future__ import annotations

import re
from unicodedata import category, normalize

LEAK = re.compile(
    r"\b(?:incorrect|wrong|erroneous|flawed) (?:student|response|attempt|solution)s?\b"
    r"|\b(?:previous|provided) (?:students?|responses?|attempts?|solutions)\b"
    r"|\bsolutions?(?: (?:shown|given|provided))? above\b|\babove solutions?\b"
    r"|\bstudents?['\u2019]?s? (?:solution|response|attempt|answer|reasoning|mistake|error)s?\b",
    re.IGNORECASE,
)
STORY = re.compile(
    r"\b(?:the|this|that|first|second|other|both) (student|response|attempt)s?\b"
    r"|\b(?:previous|provided) (solution)\b",
    re.IGNORECASE,
)
JUDGED = re.compile(
    r"\b(?:student|response|attempt)s? (?:"
    r"(?:(?:is|are|was|were|got it) )?(?:incorrect|wrong|mistaken|erroneous)(?:ly)?"
    r"|(?:made|makes?) (?:an?|the|this|that) (?:\w+ ){0,2}(?:mistake|error)"
    r"|mis(?:calculat|comput|count|read|interpret|appl)\w*|forg[eo]ts?|overlook(?:s|ed)?)\b"
    r"|\b(?:response|attempt)s?(?: (?:shown|given|provided))? above\b|\babove (?:response|attempt)s?\b",
    re.IGNORECASE,
)
MARKUP = re.compile(r"(?:\\(?:text\w*|emph|math\w*)\{|[\s*_`{}\"\u201c\u201d\u00ab\u00bb-])+")
PATTERNS = tuple(p.pattern for p in (LEAK, STORY, JUDGED, MARKUP))
"""Part of the recipe of solutions. Increase it with any change that drops other solutions."""


def mentions_hint(text: str, question: str) -> bool:
    """Whether a solution mentions the rollouts.

    * `LEAK` can only mean the rollouts, such as "the wrong attempt". No question excuses it: the question may have been
      written to ask for that mention.
    * `JUDGED` is about mistakes and attempts above. It is allowed only in words that the question uses itself.
    * `STORY` is about students, responses and solutions. It is allowed if the question is about them too.
    """
    plain, plain_question = _plain(text), _plain(question)
    nouns = {noun for m in STORY.finditer(plain) for noun in m.groups() if noun} | set(JUDGED.findall(plain))
    return bool(LEAK.search(plain)) or any(not re.search(rf"\b{noun}", plain_question, re.IGNORECASE) for noun in nouns)


def _plain(text: str) -> str:
    """A text without its markup and without invisible characters."""
    return MARKUP.sub(" ", "".join(c for c in normalize("NFKC", text) if category(c) != "Cf"))
