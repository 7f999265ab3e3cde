r"""Turn an answer in LaTeX or plain text into tokens. Bounds are checked, typesetting is dropped, symbols are unified.

A token is a run of digits, one letter, one command, one sign, or a word such as ``\text{cm}``. Nothing is evaluated,
and the bounds keep the time within milliseconds. A space is kept only where it can decide what a number is:
``3 1/2``, ``1 234``, ``3, 100``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from . import units
from .brackets import step, stripped

MAX_LENGTH = 1000
MAX_DIGITS = 400
MAX_EXPONENT_DIGITS = 4
MAX_DEPTH = 20
MAX_ITEMS = 64
MAX_CELLS = 100
MAX_SIGNS = 6

SEPARATORS = (",", ";", r"\land")  # of a list; \land is "and", a semicolon is also "or"


class UnreadableError(ValueError):
    """The text cannot be an answer: it is empty, or contains control characters."""


class OutOfBoundsError(ValueError):
    """The answer exceeds a bound. The message names the bound."""


_TOKEN = re.compile(
    r"\\mathbb\s*\{?\s*R\s*\}?|\\(?:begin|end)\s*\{[A-Za-z]+\*?\}|\{,\}|,\s*\\!|\\!\s*,|\*\*|<=|>=|!=|\.\.\.+"
    r"|\\[A-Za-z]+|\\.|[0-9]+|[A-Za-z]+|\s+|.",
    re.DOTALL,
)
_EXPONENT = re.compile(rf"(?:\^|\*\*)[\s{{+-]*[0-9]{{{MAX_EXPONENT_DIGITS + 1},}}")
_E_NOTATION = re.compile(rf"[0-9.]\s*[eE]\s*[+-]?\s*[0-9]{{{MAX_EXPONENT_DIGITS + 1},}}")
_DIGITS = re.compile(rf"[0-9]{{{MAX_DIGITS + 1}}}")

_BOLD = re.compile(r"\s*\*\*(.+?)\*\*\s*")  # Markdown's
_TH = r"(?:\\(?:text|textrm|mathrm)\s*\{\s*(?:st|nd|rd|th)\s*\}|(?:st|nd|rd|th)(?![A-Za-z]))"
_HABITS = [  # phrases that people and models write in several ways; they are replaced before the text becomes tokens
    (re.compile(pattern), written)
    for pattern, written in (
        (r"^[\s$]*(?:=|\\approx(?![A-Za-z])|\u2248)", ""),
        (r"\\\\\s*$", ""),
        (r"(?<!\\)\{\}", ""),
        (r"\u221a\s*([0-9]+)", r"\\sqrt{\1}"),
        (r"\{\s*\\(?:rm|bf|it|sf|tt)(?![A-Za-z])\s*", r"\\text{"),
        (rf"(?<=[0-9])\s*(?:\^\s*\{{\s*{_TH}\s*\}}|\^?\s*{_TH})(?=[\s}}$.]*$)", ""),
        (r"\\(?:text)?color\s*\{\w+\}", ""),
        (r"\\\\\s*\[[^\]]{0,10}\]", r"\\\\"),  # the height of a matrix row
        (r"\\begin\{array\}\s*\{[^{}]*\}", r"\\begin{matrix}"),
        (r"\\end\{array\}", r"\\end{matrix}"),
    )
]
_UNICODE = str.maketrans(
    {
        **dict.fromkeys("\u2212\u2013\u2012", "-"),
        **{"\u00b2": "^{2}", "\u00b3": "^{3}", "\u221a": r"\sqrt ", "\u221e": r"\infty "},
        **{"\u00d7": r"\times ", "\u00b7": r"\cdot ", "\u22c5": r"\cdot ", "\u00f7": r"\div ", "\u00b1": r"\pm "},
        **{"\u2264": r"\le ", "\u2265": r"\ge ", "\u2260": r"\ne ", "\u2208": r"\in ", "\u222a": r"\cup "},
        **{"\u03c0": r"\pi ", "\u03b8": r"\theta ", "\u03b1": r"\alpha ", "\u03b2": r"\beta ", "\u00b0": r"\degree "},
        **{"\u20ac": r"\text{euro}", "\u00a3": r"\text{pound}", "\u00a5": r"\text{yen}", "\u00a2": r"\text{cent}"},
        **{
            "\u00bd": r"\frac12",
            "\u00bc": r"\frac14",
            "\u00be": r"\frac34",
            "\u2153": r"\frac13",
            "\u2154": r"\frac23",
        },
        **{"\u2248": r"\approx "},
        **dict.fromkeys("\u00a0\u2009\u202f\u200a", " "),
    }
)
_TEXT = frozenset([r"\text", r"\textrm", r"\textnormal", r"\mbox", r"\hbox", r"\mathrm", r"\operatorname", r"\rm"])
_WRAPPERS = _TEXT | frozenset(
    r"\textbf \textit \texttt \textsf \textsc \emph \underline \mathbf \mathit \mathsf \boldsymbol \bm "
    r"\boxed \fbox".split()
)
_REWRITES = {
    **dict.fromkeys([r"\dfrac", r"\tfrac", r"\cfrac"], r"\frac"),
    **dict.fromkeys([r"\dbinom", r"\tbinom"], r"\binom"),
    **dict.fromkeys([r"\,", r"\;", r"\:", r"\ ", "~"], " "),
    **dict.fromkeys([r"\left", r"\right", r"\big", r"\Big", r"\bigl", r"\bigr", r"\Bigl", r"\Bigr"], ""),
    **dict.fromkeys([r"\displaystyle", r"\textstyle", r"\limits", r"\!", "$", r"\(", r"\)", r"\[", r"\]"], ""),
    **dict.fromkeys([r"\large", r"\Large", r"\huge", r"\bf", r"\it"], ""),
    **dict.fromkeys([r"\times", r"\ast", "*"], r"\cdot"),
    **dict.fromkeys([r"\leq", r"\leqslant", "<="], r"\le"),
    **dict.fromkeys([r"\geq", r"\geqslant", ">="], r"\ge"),
    **dict.fromkeys([r"\neq", "!="], r"\ne"),
    **dict.fromkeys([r"\lvert", r"\rvert", r"\vert", r"\mid"], "|"),
    **dict.fromkeys([r"\dots", r"\cdots"], r"\ldots"),
    **dict.fromkeys([r"\varnothing"], r"\emptyset"),
    **{r"\lt": "<", r"\gt": ">", r"\div": "/", "**": "^", r"\%": "%", r"\$": r"\text{dollar}"},
    **{r"\langle": "(", r"\rangle": ")", r"\lbrace": r"\{", r"\rbrace": r"\}", r"\lbrack": "[", r"\rbrack": "]"},
    **{r"\wedge": r"\land", r"\lor": ";", r"\vee": ";"},
    **{r"\bar": r"\overline", r"\degrees": r"\degree", r"\infinity": r"\infty"},
}
_PLAIN_WORDS = ("yes", "no", "true", "false", "none")  # in any case
_SPELLED = {
    **{name: "\\" + name for name in "pi sqrt sin cos tan cot sec csc log ln exp arcsin arccos arctan".split()},
    **dict.fromkeys(["infinity", "inf"], r"\infty"),
    **dict.fromkeys(["percent", "percents"], "%"),
    **dict.fromkeys(["degree", "degrees"], r"\degree"),
    **{"and": r"\land", "or": ";"},
    **{word.upper(): word for word in _PLAIN_WORDS},
    **{word.title(): word for word in _PLAIN_WORDS},
}


def tokens(answer: str) -> list[str]:
    """The tokens of an answer.

    Raises:
        UnreadableError: the answer has no tokens, or contains control characters.
        OutOfBoundsError: the answer exceeds one of the bounds above.
    """
    if len(answer) <= MAX_LENGTH and (bold := _BOLD.fullmatch(answer)):
        answer = bold[1]
    _check(answer)
    for pattern, written in _HABITS:
        answer = pattern.sub(written, answer)
    raw = [t for t in map(_rewritten, _TOKEN.findall(answer.translate(_UNICODE))) if t]
    _check_structure(raw)
    plain = _trimmed(_grouped(_degrees(_unbraced(_spaced(_separated(_unwrapped(raw)))))))
    if not plain:
        raise UnreadableError("it is empty")
    return plain


def joined(plain: Sequence[str]) -> str:
    r"""The tokens as one string. A space keeps a letter apart from a command's name: ``\cot x``."""
    out = []
    for before, token in zip([" ", *plain], plain, strict=False):
        if token[0].isalpha() and before[0] == "\\" and before[-1].isalpha():
            out.append(" ")
        out.append(word(token) or token)
    return "".join(out)


def is_number(token: str) -> bool:
    """Whether a token is a run of ASCII digits."""
    return token.isascii() and token.isdigit()


def word(token: str) -> str:
    r"""The content of a word token ``\text{...}``; empty for any other token."""
    return token[6:-1] if token.startswith(r"\text{") else ""


def _check(answer: str) -> None:
    if len(answer) > MAX_LENGTH:
        raise OutOfBoundsError(f"longer than {MAX_LENGTH} characters")
    if any(unicodedata.category(c) in ("Cc", "Cs") and not c.isspace() for c in answer):
        raise UnreadableError("it contains control characters")
    if _DIGITS.search(answer):
        raise OutOfBoundsError(f"a number of more than {MAX_DIGITS} digits")
    if _EXPONENT.search(answer) or _E_NOTATION.search(answer):
        raise OutOfBoundsError(f"an exponent of more than {MAX_EXPONENT_DIGITS} digits")


def _check_structure(plain: Sequence[str]) -> None:
    depth = deepest = 0
    for token in plain:
        depth += step(token)
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise OutOfBoundsError(f"nested deeper than {MAX_DEPTH} brackets")
    if plain.count("&") + plain.count(r"\\") >= MAX_CELLS:
        raise OutOfBoundsError(f"a matrix of more than {MAX_CELLS} cells")
    if sum(map(plain.count, SEPARATORS)) >= MAX_ITEMS:
        raise OutOfBoundsError(f"more than {MAX_ITEMS} elements")
    if plain.count(r"\pm") > MAX_SIGNS:
        raise OutOfBoundsError(f"more than {MAX_SIGNS} plus-minus signs")


def _rewritten(token: str) -> str:
    if token.isspace():
        return " "
    if re.fullmatch(r"\\mathbb\W*R\W*", token):
        return r"\reals"
    if token.startswith((r"\begin", r"\end")):
        return re.sub(r"\s", "", token)
    if re.fullmatch(r"\{,\}|,\s*\\!|\\!\s*,", token):
        return "{,}"
    return r"\ldots" if token.startswith("...") else _REWRITES.get(token, token)


def _unwrapped(tokens: Iterable[str]) -> list[str]:
    r"""Drop ``\text{...}`` and similar wrappers. Letters become words, names, units or variables."""
    out: list[str] = []
    opened: list[tuple[bool, bool]] = []  # per open group: whether a wrapper opened it, and whether its content is text
    wrapper = ""
    for token in tokens:
        in_text = bool(opened) and opened[-1][1]
        if token == "{":
            opened.append((bool(wrapper), wrapper in _TEXT or (in_text and not wrapper)))
        owned = (token == "{" and bool(wrapper)) or (token == "}" and bool(opened) and opened.pop()[0])
        wrapper = token if token in _WRAPPERS else wrapper if token == " " else ""
        if owned or wrapper:
            continue
        if token.isascii() and token.isalpha():
            out.extend(_letters(token, in_text, out))
        else:
            out.append(token)
    return out


def _letters(run: str, in_text: bool, before: Sequence[str]) -> Iterator[str]:
    """The tokens for a run of letters."""
    if len(run) > 2 and run.istitle():
        run = run.lower()
    spelled = _SPELLED.get(run, "")
    if spelled and not spelled.isalpha():
        yield spelled
        return
    run = spelled or run
    spaced = before[-1:] == [" "]
    last = next((t for t in reversed(before) if t != " "), "")
    after_value = is_number(last) or last in (")", "}", ".", r"\pi") or bool(word(last))
    if in_text:
        is_word = len(run) > 1 or (after_value and run in units.LETTERS)
    else:
        unit = run in units.NAMES and (run != "hr" or is_number(last))  # not in pi h r^2, the volume of a cone
        is_word = len(run) > 3 or (after_value and len(run) > 1 and (unit or (spaced and len(run) > 2)))
    yield from [rf"\text{{{run}}}"] if is_word else run


def _separated(tokens: Sequence[str]) -> list[str]:
    """Turn a wide space outside brackets into a separator, unless it is next to a comma or before a unit."""
    out: list[str] = []
    depth = 0
    for i, token in enumerate(tokens):
        depth += 0 if token in "{}" else step(token)
        if token not in (r"\quad", r"\qquad"):
            out.append(token)
            continue
        before, after = (next((t for t in side if t != " "), "") for side in (reversed(out), tokens[i + 1 :]))
        separates = depth == 0 and not word(after) and not {before, after} & {"", ",", ";", "&", r"\\"}
        out.append(";" if separates else " ")
    return out


def _spaced(tokens: list[str]) -> list[str]:
    """Keep a space only between a digit or comma and a digit."""
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
    r"""Drop braces around one character or command: ``\frac{1}{2}`` and ``\frac12`` look the same."""
    out: list[str] = []
    for token in tokens:
        if token == "}" and out[-2:-1] == ["{"] and (len(out[-1]) == 1 or out[-1][0] == "\\"):
            del out[-2]
        else:
            out.append(token)
    return out


def _degrees(tokens: list[str]) -> list[str]:
    r"""Replace ``^\circ`` by one token."""
    out: list[str] = []
    for token in tokens:
        if token == r"\circ" and out[-1:] == ["^"]:
            out[-1] = r"\degree"
        else:
            out.append(token)
    return out


def _grouped(parts: list[str]) -> list[str]:
    """Join the digits of 1,234,567. A plain comma groups only outside brackets, where it cannot separate a pair."""
    out: list[str] = []
    depth = i = 0
    while i < len(parts):
        depth += 0 if parts[i] in "{}" else step(parts[i])  # braces are invisible
        separators = ("{,}", ",") if depth == 0 else ("{,}",)
        end = i + 1
        while is_number(parts[i]) and end + 1 < len(parts) and parts[end] in separators and is_number(parts[end + 1]):
            end += 2
        digits = parts[i:end:2]
        if end > i + 1 and 0 < len(digits[0]) <= 3 and digits[0][0] != "0" and all(len(d) == 3 for d in digits[1:]):
            out.append("".join(digits))
        else:
            out.extend(parts[i:end])
        i = end
    return out


def _trimmed(tokens: list[str]) -> list[str]:
    """Drop spaces at the ends and the full stop of a sentence."""
    plain = list(stripped(tokens))
    return plain[:-1] if plain[-1:] == ["."] and plain[-2:-1] != ["."] else plain
