r"""Find the structure of an answer's tokens: lists, relations, brackets, signs and units around scalars.

There is one function per level, from the loosest binding to the tightest:

    answer -> _list -> _relation -> _union -> _bracketed -> _signed -> _scalar
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache

from . import latex, rationals, units
from .brackets import cut, enclosed, split
from .canonical import Group, Node, Reading, Scalar
from .notation import GREEK, TRIGONOMETRIC, NotMathError, unambiguous

_MIRRORED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}
_STRICT = ("<", ">")
_VARIABLE = rf"(?:[A-Za-z]|{'|'.join(map(re.escape, GREEK))})'*(?:_(?:\w|\{{\w+\}}))?"
_ASSIGNABLE = re.compile(rf"(?:\\(?:angle|triangle) ?)?[A-Z]+|{_VARIABLE}(?:\^\{{-1\}})?(?:\([\w,]+\))?")
_SPECIAL = {
    r"\infty": "oo",
    r"+\infty": "oo",
    r"-\infty": "-oo",
    r"\reals": "(-oo,oo)",
    r"\emptyset": r"s:\emptyset",
}
_EMPTY = Scalar("", _SPECIAL[r"\emptyset"])


@lru_cache(maxsize=4096)
def read(answer: str) -> Reading:
    """Read an answer. Nothing is evaluated.

    Raises:
        latex.UnreadableError: the answer is empty without its typesetting, or contains control characters.
        latex.OutOfBoundsError: the answer is too long, too deep or too large.
    """
    return Reading(_list(latex.tokens(answer)))


# ---------------------------------------------------------------- lists and relations


def _list(plain: Sequence[str]) -> Node:
    r"""A list such as ``1, 2 \text{ and } 3``. Assignments to different variables keep their names."""
    pieces = [p for p in split(plain, latex.SEPARATORS) if p]
    if len(pieces) < 2:
        return _relation(pieces[0] if pieces else plain)
    whole = _assignments(pieces) or _inequalities(pieces, either=";" in plain, both=r"\land" in plain)
    return whole or Group("list", tuple(_flat(_relation(p) for p in pieces)))


def _assignments(pieces: Sequence[Sequence[str]]) -> Node | None:
    """``x = 1, y = 2`` with names. None if a piece is not an assignment, or if two assign to the same variable."""
    sides = [split(p, "=") for p in pieces]
    if not all(len(s) == 2 and all(s) and _assignable(s[0]) for s in sides):
        return None
    values = {latex.joined(left): _union(right) for left, right in sides}
    names = tuple(sorted(values))
    if len(values) < len(pieces):
        return None
    if len({n.partition("_")[0] for n in names}) == 1:
        return Group("list", tuple(_flat(values.values())))  # the roots x_1 and x_2
    return Group("list", tuple(values[n] for n in names), names)


def _inequalities(pieces: Sequence[Sequence[str]], either: bool, both: bool) -> Node | None:
    """``x < 1 or x > 3`` as a union, ``x > 1 and x < 3`` as an interval. None for anything else."""
    bounds = [b for p in pieces if (b := _bounds(*cut(p, _MIRRORED)))]
    if len(bounds) < len(pieces) or len({variable for variable, _ in bounds}) != 1 or either == both:
        return None
    if either:
        return Group("union", tuple(_interval(b) for _, b in bounds))
    merged = {side: end for _, b in bounds for side, end in b.items()}
    if len(merged) == sum(len(b) for _, b in bounds):
        return _interval(merged)
    return Group("both", tuple(_interval(b) for _, b in bounds))


def _flat(nodes: Iterable[Node]) -> Iterator[Node]:
    """The items of all nodes. A list inside a list or set is dissolved into it."""
    for node in nodes:
        yield from node.items if isinstance(node, Group) and node.kind == "list" and not node.names else (node,)


def _relation(plain: Sequence[str]) -> Node:
    """An assignment as its value, an inequality in one variable as its interval, another relation by its values."""
    values = split(plain, [r"\approx"])
    exact = values[1] if len(values) == 2 and _assignable(values[0]) else values[0]  # sqrt 2 rather than 1.41
    members = split(exact, [r"\in"])
    if len(members) == 2 and _assignable(members[0]):
        return _list(members[1])
    sides, signs = cut(exact, ["=", *_MIRRORED])
    if not signs or not all(sides):
        return _union(exact or plain)
    if set(signs) == {"="}:
        return _equation(exact, sides)
    if "=" in signs:
        return _text(exact)
    bounds = _bounds(sides, signs)
    return _interval(bounds[1]) if bounds else _inequality(exact, signs, sides)


def _equation(plain: Sequence[str], sides: Sequence[list[str]]) -> Node:
    if _assignable(sides[0]):
        values = tuple(_union(s) for s in sides[1:])
        return values[0] if len(values) == 1 else Group("chain", values)
    if not any(_is_variable(t) for side in sides for t in side):
        return Group("chain", tuple(_union(s) for s in sides))  # 10 + 15 = 25
    if len(sides) > 2:
        return _text(plain)
    if _assignable(sides[1]) and not any(_is_variable(t) for t in sides[0]):
        return _union(sides[0])  # 5 = x
    return _compared("=", plain, *sides)


Bounds = dict[str, tuple[str, list[str]]]
"""The bounds ``low`` and ``high`` of a variable, each as its sign and its value."""


def _bounds(sides: Sequence[list[str]], signs: Sequence[str]) -> tuple[str, Bounds] | None:
    r"""The variable of ``x > 2`` or ``1 < x \le 5`` and its constant bounds. None for anything else."""
    if not 0 < len(signs) < 3 or not all(sides):
        return None
    at = next((i for i, side in enumerate(sides) if len(side) == 1 and _is_variable(side[0])), None)
    if at is None or any(_is_variable(t) for i, side in enumerate(sides) if i != at for t in side):
        return None
    if len(signs) == 2 and at != 1:
        return None  # x > 2 > 1
    bounds: Bounds = {}
    for i, sign in enumerate(signs):
        ours = sign if i == at else _MIRRORED[sign]  # the sign with the variable on its left
        bounds["high" if ours in ("<", r"\le") else "low"] = (ours, sides[i + 1] if i == at else sides[i])
    return (sides[at][0], bounds) if len(bounds) == len(signs) else None  # 1 < x > 2


def _interval(bounds: Bounds) -> Node:
    low, low_end = bounds.get("low", (">", ["-", r"\infty"]))
    high, high_end = bounds.get("high", ("<", [r"\infty"]))
    brackets = ("(" if low in _STRICT else "[") + (")" if high in _STRICT else "]")
    return Group(brackets, (_union(low_end), _union(high_end)))


def _inequality(plain: Sequence[str], signs: Sequence[str], sides: Sequence[list[str]]) -> Node:
    if len(signs) > 1:
        return _text(plain)
    left, right = sides if signs[0] in (">", r"\ge") else sides[::-1]
    return _compared(">" if signs[0] in _STRICT else ">=", plain, left, right)


def _compared(sign: str, plain: Sequence[str], left: Sequence[str], right: Sequence[str]) -> Node:
    """A relation between two expressions, as the difference of its sides."""
    try:
        difference = unambiguous(["(", *left, ")", "-", "(", *right, ")"], sign)
    except NotMathError:
        return _text(plain)
    return Scalar(latex.joined(plain), closed_form=difference)


def _is_variable(token: str) -> bool:
    return token in GREEK or (len(token) == 1 and token.isalpha() and token not in "ei")


def _assignable(plain: Sequence[str]) -> bool:
    r"""Whether an assignment can begin with it: ``x``, ``x_1``, ``f(x)``, ``f^{-1}(x)``, ``\angle ABC``, words."""
    if plain and all(map(latex.word, plain)):
        return units.unit([latex.word(t) for t in plain]) is not None  # area = 5, but not: not = 5
    return bool(_ASSIGNABLE.fullmatch(latex.joined(plain)))


# ---------------------------------------------------------------- brackets


def _union(plain: Sequence[str]) -> Node:
    pieces = split(plain, [r"\cup"])
    if len(pieces) > 1 and all(pieces):
        return Group("union", tuple(_bracketed(p) for p in pieces))
    return _bracketed(plain)


def _bracketed(plain: Sequence[str]) -> Node:
    """A tuple, interval, set or matrix. Parentheses and braces around one value only group."""
    if not enclosed(plain):
        return _signed(plain)
    opening, inside, closing = plain[0], plain[1:-1], plain[-1]
    if opening.startswith(r"\begin"):
        return _matrix(plain)
    if (opening, closing) == (r"\{", r"\}"):
        members = tuple(_flat(_relation(p) for p in split(inside, latex.SEPARATORS) if p))
        return Group("set", members) if members else _EMPTY
    if (opening, closing) == ("{", "}"):
        return _list(inside) if inside else _EMPTY  # braces are invisible
    if opening not in "([" or closing not in ")]":
        return _signed(plain)
    items = split(inside, ",;")  # a tuple has no "and"
    if len(items) > 1 and all(items):
        return _tuple(opening, items, closing)
    if inside and ((opening, closing) == ("(", ")") or inside[0].startswith(r"\begin")):
        return _relation(inside)
    return _text(plain)


def _tuple(opening: str, items: Sequence[Sequence[str]], closing: str) -> Node:
    """A tuple or an interval. An infinite end is open, whatever bracket is written."""
    if len(items) == 2 and "".join(items[0]) == r"-\infty":
        opening = "("
    if len(items) == 2 and "".join(items[1]) in (r"\infty", r"+\infty"):
        closing = ")"
    return Group(opening + closing, tuple(_union(i) for i in items))


def _matrix(plain: Sequence[str]) -> Node:
    """The cells of a matrix, row by row. A matrix of one column is a tuple."""
    name = plain[0].removeprefix(r"\begin")
    if plain[-1] != rf"\end{name}" or name not in ("{pmatrix}", "{bmatrix}", "{matrix}"):
        return _text(plain)
    rows = [split(row, "&") for row in split(plain[1:-1], [r"\\"]) if row]
    if len({len(r) for r in rows}) != 1 or not all(cell for row in rows for cell in row):
        return _text(plain)
    cells = tuple(_union(cell) for row in rows for cell in row)
    return Group("()", cells) if len(rows) == len(cells) > 1 else Group(f"M{len(rows[0])}", cells)


# ---------------------------------------------------------------- scalars


def _signed(plain: Sequence[str]) -> Node:
    r"""A list of the readings with each sign of every ``\pm``."""
    if r"\pm" not in plain:
        return _scalar(plain)
    at = list(plain).index(r"\pm")
    plus = [*plain[:at], *(["+"] if at else []), *plain[at + 1 :]]
    minus = [*plain[:at], "-", *plain[at + 1 :]]
    return Group("list", tuple(_flat(_signed(p) for p in (plus, minus))))


def _scalar(plain: Sequence[str]) -> Node:
    value, unit = _measured(plain)
    text = latex.joined(value)
    if (number := rationals.number(text)) is not None:
        return Scalar(text, rationals.key(number), unit=unit)
    if text in _SPECIAL:
        return Scalar(text, _SPECIAL[text])
    if not _is_name(value):
        with suppress(NotMathError):
            return Scalar(text, closed_form=unambiguous(value), unit=unit)
    return _text(plain)


def _is_name(value: Sequence[str]) -> bool:
    """Whether a value is a word or a single variable. e, i and pi are numbers."""
    if len(value) == 1:
        return value[0] not in ("e", "i", r"\pi")
    return all((len(t) == 1 and t.isalpha()) or latex.word(t) for t in value)


def _text(plain: Sequence[str]) -> Scalar:
    text = latex.joined(plain).replace(", ", ",")
    return Scalar(text, f"s:{text}")


def _measured(plain: Sequence[str]) -> tuple[Sequence[str], str | None]:
    """Split a value from its unit. The unit is None if there is none."""
    sign, rest = (plain[:1], plain[1:]) if plain[:1] == ["-"] else ([], plain)
    if len(rest) > 1 and (currency := latex.word(rest[0])) in units.MONEY:
        value, unit = _measured(rest[1:])  # $5 per day, $5 dollars
        return ([*sign, *value], currency) if unit == currency or unit not in units.MONEY else (plain, None)
    start = next((i for i, t in enumerate(plain) if latex.word(t) or t == r"\degree"), 0)
    if start and plain[start - 1] == "/":
        start -= 1
    value, words = plain[:start], [latex.word(t) or t for t in plain[start:] if t not in ("{", "}")]
    if not value or not TRIGONOMETRIC.isdisjoint(value):
        return plain, None
    if words[0] == r"\degree":
        scale = units.unit(words[1:]) if words[1:] else ""
        return (value, f"degree{scale}") if scale in ("", "C", "F") else (plain, None)
    behind_words = [t for t in plain[start:] if len(t) == 1 and t.isalpha() and t not in units.LETTERS]
    unit = None if behind_words else units.unit(words)  # 5 times x
    return (value, unit) if unit else (plain, None)
