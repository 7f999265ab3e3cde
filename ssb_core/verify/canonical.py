r"""One canonical key per answer, so that answers are equal exactly if their keys are.

Equality of keys is reflexive, symmetric and transitive by construction, and groups K answers in O(K). Keys are typed:
``n:`` an exact rational, ``s:`` a normalised string; the two never collide.

Policy, where notation leaves a choice:

- Percent means hundredths: ``5\%`` is ``0.05`` and ``1/20``, not ``5``.
- A number's degree sign is dropped (``90^\circ`` is ``90``), and so are currency signs (``\$5`` is ``5``).
  Other units stay: ``5 cm`` is neither ``5`` nor ``5 km``.
- Commas group thousands only in the shape ``1,234,567``: ``5,5`` and ``3, 100`` (with a space) are lists.
- A number before a proper fraction makes a mixed number: ``2\frac12`` is ``5/2``.
- A base subscript stays: ``2516_8`` is not ``2516``.
- Digits are ASCII. Powers, products and E-notation are not computed, so no answer can ask for a huge number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction

MAX_LENGTH = 1000
"""Longest answer, in characters, that gets a key; it bounds the digits of every number as well."""

_UNICODE = str.maketrans({"\u2212": "-", "\u00b0": r"^\circ "})
_TOKEN = re.compile(r"\{,\}|,\s*\\!|\\!\s*,|\\[A-Za-z]+|\\.|[0-9]+|\s+|.", re.DOTALL)
_SEPARATOR = re.compile(r"\{,\}|,\s*\\!|\\!\s*,")  # commas typeset so as not to be a list's
_WRAPPERS = frozenset(
    [r"\text", r"\textbf", r"\textit", r"\textrm", r"\mbox", r"\mathrm", r"\mathbf", r"\mathit", r"\boxed", r"\fbox"]
)
_REWRITES = {
    **dict.fromkeys([r"\dfrac", r"\tfrac", r"\cfrac"], r"\frac"),
    **dict.fromkeys([r"\,", r"\;", r"\:", r"\ ", "~", r"\quad", r"\qquad"], " "),
    **dict.fromkeys([r"\left", r"\right", r"\displaystyle", r"\!"], ""),
    **dict.fromkeys(["$", r"\$", "\u20ac", "\u00a3", "\u00a5", r"\(", r"\)", r"\[", r"\]"], ""),
    r"\%": "%",
}

_DECIMAL = re.compile(r"[+-]?(?:(?:[0-9]+|[1-9][0-9]{0,2}(,|\{,\}| )[0-9]{3}(?:\1[0-9]{3})*)(?:\.[0-9]*)?|\.[0-9]+)")
_FRAC = re.compile(r"([+-]?)\\frac([0-9]|\{[^{}]+\}) ?([0-9]|\{[^{}]+\})")
_SLASH = re.compile(r"([+-]?)([^/]+)/([^/]+)")
_MIXED = re.compile(r"([+-]?)([0-9]+)(?: (?=[0-9])|(?=\\frac))(.+)")
_SUFFIX = re.compile(r"(%|percent)$|(?:\^\\circ|degrees?)$")


def key(answer: str) -> str | None:
    """The canonical key of an answer in LaTeX or plain text; None when it is empty or longer than `MAX_LENGTH`."""
    if len(answer) > MAX_LENGTH:
        return None
    text = _normalised(answer)
    number = _number(text)
    if number is not None:
        return f"n:{number}"
    text = text.replace(", ", ",")
    return f"s:{text}" if text else None


def _normalised(answer: str) -> str:
    """`answer` without typesetting. Spaces that decide what a number is survive: ``3 1/2``, ``1 234``, ``3, 100``."""
    tokens = (_rewritten(token) for token in _TOKEN.findall(answer.translate(_UNICODE)))
    text = _joined(_unbraced(_spaced(_unwrapped(t for t in tokens if t))))
    return text[:-1] if text.endswith(".") and not text.endswith("..") else text


def _rewritten(token: str) -> str:
    if token.isspace():
        return " "
    return "{,}" if _SEPARATOR.fullmatch(token) else _REWRITES.get(token, token)


def _unwrapped(tokens: Iterable[str]) -> list[str]:
    r"""Drop ``\text{...}`` and its kin around their content."""
    out: list[str] = []
    opened: list[bool] = []  # for each open group: does a wrapper own it?
    wrapper = False
    for token in tokens:
        if token == "{":
            opened.append(wrapper)
        owned = (token == "{" and wrapper) or (token == "}" and bool(opened) and opened.pop())
        wrapper = token in _WRAPPERS or (wrapper and token == " ")
        if not owned and not wrapper:
            out.append(token)
    return out


def _spaced(tokens: list[str]) -> list[str]:
    """Keep a space only in front of a digit, behind another digit or a comma."""
    out = [""]
    space = False
    for token in tokens:
        if token == " ":
            space = True
            continue
        if space and token[0] in "0123456789" and out[-1][-1:] in tuple("0123456789,"):
            out.append(" ")
        out.append(token)
        space = False
    return out[1:]


def _unbraced(tokens: list[str]) -> list[str]:
    r"""Drop braces around a single character or command: ``\frac{1}{2}`` and ``\frac12`` typeset the same."""
    out: list[str] = []
    for token in tokens:
        if token == "}" and out[-2:-1] == ["{"] and (len(out[-1]) == 1 or out[-1][0] == "\\"):
            del out[-2]
        else:
            out.append(token)
    return out


def _joined(tokens: list[str]) -> str:
    r"""Concatenate, with a space where a letter would run into a command's name: ``\cot x``."""
    out = []
    for before, token in zip([" ", *tokens], tokens, strict=False):
        if token[0].isalpha() and before[0] == "\\" and before[-1].isalpha():
            out.append(" ")
        out.append(token)
    return "".join(out)


def _number(text: str) -> Fraction | None:
    suffix = _SUFFIX.search(text)
    body = text[: suffix.start()] if suffix else text
    for parse in (_decimal, _mixed, _fraction):
        value = parse(body)
        if value is not None:
            return value / 100 if suffix and suffix[1] else value
    return None


def _decimal(text: str) -> Fraction | None:
    if not (found := _DECIMAL.fullmatch(text)):
        return None
    return Fraction(text.replace(found[1], "") if found[1] else text)


def _mixed(text: str) -> Fraction | None:
    found = _MIXED.fullmatch(text)
    part = _fraction(found[3]) if found else None
    if not found or part is None or not 0 < part < 1:
        return None
    value = int(found[2]) + part
    return -value if found[1] == "-" else value


def _fraction(text: str) -> Fraction | None:
    found = _FRAC.fullmatch(text) or _SLASH.fullmatch(text)
    if not found:
        return None
    above, below = (_decimal(part.strip("{}")) for part in found.group(2, 3))
    if above is None or not below:
        return None
    return -above / below if found[1] == "-" else above / below
