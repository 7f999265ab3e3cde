r"""One canonical key per answer, so that answers are equal exactly if their keys are.

Equality of keys is reflexive, symmetric and transitive by construction, and groups K answers in O(K). An answer is
read into scalars and the structures around them; a scalar that is more than a number or a word is a *closed form*,
whose key is computed elsewhere (`closed_form`, in a worker process) and handed in. Keys:

    n:3/4             an exact rational              s:east           text, a word, a variable
    c:1.41421356237   a closed form, 12 digits       f:...            an expression in variables, by its values
    =:... >:...       an equation, an inequality     (n:1,n:2]        a tuple or an interval
    {n:1;n:2}         a set, or a list in any order  M2[...]          a matrix of two columns

Policy, where notation leaves a choice:

- Percent means hundredths: ``5\%`` is ``0.05`` and ``1/20``, not ``5``.
- A base stays: ``2516_8`` is not ``2516``. Digits are ASCII.
- Commas group thousands only in the shape ``1,234,567`` outside brackets: ``5,5`` and ``3, 100`` are lists.
- A number before a proper fraction makes a mixed number: ``2\frac12`` is ``5/2``.
- Letters alone are a word: ``ab`` is not ``ba``. In an expression letters are variables, case matters, ``e`` is
  Euler's number and ``i`` the imaginary unit.
- An assignment is its value (``x = 5``, ``x \in [1,2]``), an inequality in one variable its interval. Several
  variables keep their names: ``x=1, y=2``.
- Lists have no order but count repeats; sets do not; tuples, intervals and column vectors are ordered.
- A unit is part of the key, but for the reader's context: see `Reading.key`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from . import latex, rationals, units
from .notation import GREEK, TRIGONOMETRIC, NotMathError, unambiguous

Values = Mapping[str, str | None]
"""Keys of closed forms by their LaTeX; None for one that turned out to be no mathematics."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value. `known` is its key if that needs no computing, else `closed_form` is what to compute."""

    text: str
    known: str | None = None
    closed_form: str | None = None
    unit: str | None = None

    def parts(self) -> Iterator[Scalar]:
        yield self

    def key(self, values: Values, default_unit: str | None, keep_units: bool) -> str:
        plain = self.known or (values[self.closed_form] if self.closed_form else None) or f"s:{self.text}"
        unit = (self.unit or default_unit) if keep_units and not plain.startswith("s:") else None
        return f"{plain}|{unit}" if unit else plain


@dataclass(frozen=True, slots=True)
class Group:
    """Several values in brackets: `kind` is ``list``, ``set``, ``union``, ``M<columns>`` or the two brackets."""

    kind: str
    items: tuple[Node, ...]
    names: tuple[str, ...] = ()

    def parts(self) -> Iterator[Scalar]:
        for item in self.items:
            yield from item.parts()

    def key(self, values: Values, default_unit: str | None, keep_units: bool) -> str:
        keys = [item.key(values, default_unit, keep_units) for item in self.items]
        if self.names:
            keys = [f"{name}:={k}" for name, k in zip(self.names, keys, strict=True)]
        if self.kind == "chain":
            return keys[0] if len(set(keys)) == 1 else f"s:{'='.join(keys)}"
        if self.kind == "set":
            keys = list(set(keys))
        if self.kind in ("set", "list"):
            return f"{{{';'.join(sorted(keys))}}}"
        if self.kind == "union":
            return f"U[{';'.join(sorted(set(keys)))}]"
        if len(self.kind) == 2 and self.kind[0] in "([":
            return f"{self.kind[0]}{','.join(keys)}{self.kind[1]}"
        return f"{self.kind}[{','.join(keys)}]"


Node = Scalar | Group


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer as it was read."""

    root: Node

    @property
    def closed_forms(self) -> frozenset[str]:
        """What has to be computed before there is a key."""
        return frozenset(s.closed_form for s in self.root.parts() if s.closed_form)

    @property
    def units(self) -> frozenset[str]:
        return frozenset(s.unit for s in self.root.parts() if s.unit)

    def key(self, values: Values, gold: Reading | None = None) -> str:
        """The canonical key. Beside a `gold` answer, units are read as its author would read them.

        A gold answer without a unit leaves it to the question, so units are dropped: 5 cm is 5. One with a unit lends
        it to values that have none, and another unit differs: 5 is 5 cm, 5 km is not. Among the answers to one
        problem equality stays an equivalence, since all are read beside the same gold.
        """
        if gold is None:
            return self.root.key(values, None, True)
        default = next(iter(gold.units)) if len(gold.units) == 1 else None
        return self.root.key(values, default, bool(gold.units))


@lru_cache(maxsize=4096)
def read(answer: str) -> Reading:
    """Read an answer.

    Raises:
        latex.UnreadableError: nothing is left of it without typesetting, or it is not text.
        latex.OutOfBoundsError: it is too long, too deep or too large.
    """
    return Reading(_list(latex.tokens(answer)))


def _list(plain: Sequence[str]) -> Node:
    """``1, 2 \text{ and } 3``; lists of assignments to different variables keep the names."""
    pieces = [p for p in latex.split(plain, ",;") if p]
    if len(pieces) < 2:
        return _relation(pieces[0] if pieces else plain)
    sides = [latex.split(p, ["="]) for p in pieces]
    names = [latex.joined(s[0]) if len(s) == 2 and _assignable(s[0]) else "" for s in sides]
    if all(names) and len(set(names)) == len(names):
        order = sorted(range(len(names)), key=names.__getitem__)
        return Group("list", tuple(_union(sides[i][1]) for i in order), tuple(names[i] for i in order))
    nodes = tuple(_flat(_relation(p) for p in pieces))
    if ";" in plain and all(not _FLIPPED.keys().isdisjoint(p) for p in pieces):
        return Group("union", nodes)  # x < 1 or x > 3
    return Group("list", nodes)


def _flat(nodes: Iterator[Node]) -> Iterator[Node]:
    for node in nodes:
        yield from node.items if isinstance(node, Group) and node.kind == "list" and not node.names else (node,)


_FLIPPED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}


def _relation(plain: Sequence[str]) -> Node:
    """An assignment as its value, an inequality in one variable as its interval, other relations by their values."""
    if len(exact := latex.split(plain, [r"\approx"])) > 1 and exact[0]:
        return _relation(exact[0])  # the approximation is no part of the answer
    if len(members := latex.split(plain, [r"\in"])) == 2 and _assignable(members[0]):
        return _list(members[1])
    sides = latex.split(plain, ["=", *_FLIPPED])
    if len(sides) == 1 or not all(sides):
        return _union(plain)
    signs = _signs(plain)
    if set(signs) == {"="}:
        return _equation(plain, sides)
    return _interval(signs, sides) or _inequality(plain, signs, sides)


def _signs(plain: Sequence[str]) -> list[str]:
    """The relation signs outside brackets, in order."""
    wanted = ("=", *_FLIPPED)
    lengths = [len(latex.split(plain[:i], wanted)) for i in range(len(plain) + 1)]
    return [plain[i] for i in range(len(plain)) if lengths[i + 1] > lengths[i]]


def _equation(plain: Sequence[str], sides: list[list[str]]) -> Node:
    if _assignable(sides[0]):
        rest = tuple(_union(s) for s in sides[1:])
        return rest[0] if len(rest) == 1 else Group("chain", rest)
    if len(sides) == 2:
        if _assignable(sides[1]) and not any(_letters(t) for t in sides[0]):
            return _union(sides[0])  # 5 = x
        return _compared("=", plain, *sides)
    return _text(plain)


def _interval(signs: list[str], sides: list[list[str]]) -> Node | None:
    """``x > 2`` and ``1 < x \\le 5`` with constants around one variable."""
    variable = [i for i, side in enumerate(sides) if len(side) == 1 and _letters(side[0])]
    others = [t for i, side in enumerate(sides) if i not in variable for t in side]
    if len(variable) != 1 or "=" in signs or any(_letters(t) and t not in ("e", r"\pi") for t in others):
        return None
    low: list[str] | None = None
    high: list[str] | None = None
    left, right = "(", ")"
    for i, sign in enumerate(signs):
        ours = i == variable[0]
        other = sides[i + 1] if ours else sides[i]
        if (sign if ours else _FLIPPED[sign]) in ("<", r"\le"):
            if high is not None:
                return None
            high, right = other, ")" if sign in "<>" else "]"
        else:
            if low is not None:
                return None
            low, left = other, "(" if sign in "<>" else "["
    if len(signs) != len(sides) - 1 or len(signs) > 2:
        return None
    ends = (_union(low or ["-", r"\infty"]), _union(high or [r"\infty"]))
    return Group(left + right, ends)


def _inequality(plain: Sequence[str], signs: list[str], sides: list[list[str]]) -> Node:
    if len(sides) != 2 or "=" in signs:
        return _text(plain)
    if signs[0] in ("<", r"\le"):
        sides = sides[::-1]
    return _compared(">" if signs[0] in "<>" else ">=", plain, *sides)


def _compared(sign: str, plain: Sequence[str], left: Sequence[str], right: Sequence[str]) -> Node:
    """A relation between two expressions, by the difference of its sides."""
    try:
        difference = unambiguous(["(", *left, ")", "-", "(", *right, ")"], sign)
    except NotMathError:
        return _text(plain)
    return Scalar(latex.joined(plain), closed_form=difference)


def _letters(token: str) -> bool:
    """Whether a token names a variable."""
    return (len(token) == 1 and token.isalpha()) or token in GREEK


def _assignable(plain: Sequence[str]) -> bool:
    r"""Whether this can stand left of an assignment: ``x``, ``x_1``, ``f(x)``, ``f^{-1}(x)``, ``\angle ABC``."""
    names = [t for t in plain if t not in (r"\angle", r"\triangle", "'")]
    if names and all(latex.word(t) for t in names):
        return True
    if not names or not _letters(names[0]):
        return False
    if all(_letters(t) and t.isupper() for t in names):
        return True
    rest = names[1:]
    for opening, inside in (("_", ()), ("^", ("{", "-", "1", "}")), ("(", ())):
        if rest[:1] == [opening]:
            end = next((i for i in range(2, len(rest) + 1) if latex.enclosed(rest[1 - (opening == "(") : i])), 2)
            if inside and tuple(rest[1:end]) != inside:
                return False
            rest = rest[end:]
    return not rest


def _union(plain: Sequence[str]) -> Node:
    pieces = latex.split(plain, [r"\cup"])
    if len(pieces) > 1 and all(pieces):
        return Group("union", tuple(_bracketed(p) for p in pieces))
    return _bracketed(plain)


def _bracketed(plain: Sequence[str]) -> Node:
    """Tuples, intervals, sets, matrices; parentheses and braces around one value only group."""
    if not latex.enclosed(plain):
        return _signed(plain)
    opening, inside, closing = plain[0], plain[1:-1], plain[-1]
    if opening.startswith(r"\begin{"):
        return _matrix(plain, opening, closing)
    if opening == r"\{" and closing == r"\}":
        items = [p for p in latex.split(inside, ",;") if p]
        return Group("set", tuple(_flat(_relation(p) for p in items))) if items else Scalar("", r"s:\emptyset")
    many = len(latex.split(inside, ",;")) > 1
    if opening == "{" and closing == "}":
        return _list(inside) if inside else Scalar("", r"s:\emptyset")
    if opening in "([" and closing in ")]":
        pieces = latex.split(inside, ",;")
        if many and all(pieces):
            ends = [_end(p) for p in pieces] if len(pieces) == 2 else [opening, closing]
            brackets = ("(" if ends[0] == "(" else opening) + (")" if ends[1] == ")" else closing)
            return Group(brackets, tuple(_union(p) for p in pieces))
        if not many and inside and opening == "(" and closing == ")":
            return _relation(inside)
        return _text(plain)
    return _signed(plain)


def _end(plain: Sequence[str]) -> str:
    """An infinite end of an interval is open however it is written."""
    text = "".join(plain)
    return {r"-\infty": "(", r"\infty": ")", r"+\infty": ")"}.get(text, "")


def _matrix(plain: Sequence[str], opening: str, closing: str) -> Node:
    name = opening[7:-1]
    if closing != rf"\end{{{name}}}" or name not in ("pmatrix", "bmatrix", "matrix", "array"):
        return _text(plain)
    inside = plain[1:-1]
    if name == "array" and inside[:1] == ["{"]:
        inside = inside[inside.index("}") + 1 :] if "}" in inside else inside
    rows = [latex.split(row, ["&"]) for row in latex.split(inside, [r"\\"]) if row]
    if not rows or len({len(r) for r in rows}) > 1 or not all(cell for row in rows for cell in row):
        return _text(plain)
    cells = tuple(_union(cell) for row in rows for cell in row)
    return Group("()", cells) if len(rows[0]) == 1 and len(rows) > 1 else Group(f"M{len(rows[0])}", cells)


def _signed(plain: Sequence[str]) -> Node:
    r"""Every reading of ``\pm``, each sign for itself."""
    if r"\pm" not in plain:
        return _scalar(plain)
    at = list(plain).index(r"\pm")
    plus = [*plain[:at], *(["+"] if at else []), *plain[at + 1 :]]
    minus = [*plain[:at], "-", *plain[at + 1 :]]
    return Group("list", tuple(_flat(_signed(p) for p in (plus, minus))))


def _scalar(plain: Sequence[str]) -> Node:
    if not plain:
        return _text(plain)
    value, unit = _measured(list(plain))
    text = latex.joined(value)
    if (number := rationals.number(text)) is not None:
        return Scalar(text, rationals.key(number), unit=unit)
    if special := _SPECIAL.get(text):
        return Scalar(text, special)
    if not _wordy(value):
        with suppress(NotMathError):
            return Scalar(text, closed_form=unambiguous(value), unit=unit)
    return _text(plain)


def _wordy(value: Sequence[str]) -> bool:
    """Letters alone are a word, and a lone variable is its name; e, i and pi are numbers."""
    if len(value) == 1:
        return value[0] not in ("e", "i", r"\pi")
    return all((_letters(t) and t not in GREEK) or latex.word(t) for t in value)


_SPECIAL = {
    r"\infty": "oo",
    r"+\infty": "oo",
    r"-\infty": "-oo",
    r"\reals": "(-oo,oo)",
    r"\emptyset": r"s:\emptyset",
}


def _text(plain: Sequence[str]) -> Scalar:
    text = latex.joined(plain).replace(", ", ",")
    return Scalar(text, f"s:{text}")


def _measured(plain: list[str]) -> tuple[list[str], str | None]:
    """A value and its unit, if it has one."""
    if latex.word(plain[0]) in ("dollar", "euro", "pound", "yen") and len(plain) > 1:
        return plain[1:], latex.word(plain[0])
    if plain[:1] == ["-"] and len(plain) > 2 and latex.word(plain[1]) in ("dollar", "euro", "pound", "yen"):
        return ["-", *plain[2:]], latex.word(plain[1])
    if plain[-1] == r"\degree" and len(plain) > 1 and TRIGONOMETRIC.isdisjoint(plain):
        return plain[:-1], "degree"
    start = next((i for i, t in enumerate(plain) if latex.word(t)), len(plain))
    if 0 < start < len(plain):
        words = [latex.word(t) or t for t in plain[start:]]
        unit = units.unit([w for w in words if w not in "{}"])
        value = plain[: start - 1] if plain[start - 1] == r"\degree" else plain[:start]
        if unit and value:
            return value, "degree" if value != plain[:start] else unit
    return plain, None
