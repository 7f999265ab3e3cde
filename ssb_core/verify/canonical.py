r"""One canonical key per answer: two answers are equal if and only if their keys are equal.

Equality of keys is reflexive, symmetric and transitive by construction, and it groups K answers in O(K). An answer is
read as scalars and the structures around them. A scalar that is more than a number or a word is a *closed form*; a
sandbox process computes its key (see `closed_form`). Keys:

    n:3/4             an exact rational              s:east           text, a word, a variable
    c:1.41421356237   a closed form, 12 digits       f:...            an expression in variables, by its values
    =:... >:...       an equation, an inequality     (n:1,n:2]        a tuple or an interval
    {n:1;n:2}         a set, or a list in any order  M2[...]          a matrix of two columns

Policy, where notation leaves a choice:

- Percent means hundredths: ``5\%`` equals ``0.05`` and ``1/20``, not ``5``.
- A number keeps its base: ``2516_8`` is not ``2516``. Only ASCII digits are digits.
- Commas group thousands only in the shape ``1,234,567`` and outside brackets: ``5,5`` and ``3, 100`` are lists.
- A whole number before a proper fraction makes a mixed number: ``2\frac12`` equals ``5/2``.
- Letters alone are a word: ``ab`` is not ``ba``. In an expression, letters are variables, case matters, ``e`` is
  Euler's number and ``i`` is the imaginary unit. Variables may be negative: ``\sqrt{x^2}`` is not ``x``.
- An assignment equals its value, whatever the name (``x = 5``, ``x \in [1,2]``, ``10 + 15 = 25``). An inequality in
  one variable equals its interval. Several variables keep their names (``x=1, y=2``); numbered roots do not.
- A list has no order, but repeats count. A set has neither order nor repeats, and a set of one value equals that
  value. Tuples, intervals and column vectors are ordered.
- A unit is part of the key, but the gold answer decides whether it matters: see `Reading.key`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Values = Mapping[str, str | None]
"""Keys of closed forms, by their LaTeX. None means that the closed form has no value."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value. `known` is its key if that needs no computing; else `closed_form` has to be computed."""

    text: str
    known: str | None = None
    closed_form: str | None = None
    unit: str | None = None

    def parts(self) -> Iterator[Scalar]:
        yield self

    def key(self, values: Values, default_unit: str | None, keep_units: bool) -> str:
        plain = self.known or (values.get(self.closed_form) if self.closed_form else None) or f"s:{self.text}"
        unit = (self.unit or default_unit) if keep_units and not plain.startswith("s:") else None
        return f"{plain}|{unit}" if unit else plain


@dataclass(frozen=True, slots=True)
class Group:
    """Several values. `kind` is ``list``, ``set``, ``union``, ``both``, ``chain``, ``M<columns>`` or two brackets."""

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
            if len(keys) == 1:
                return keys[0]  # the only solution
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
    """The structure that was read from an answer."""

    root: Node

    @property
    def closed_forms(self) -> tuple[str, ...]:
        """The closed forms that have to be computed before there is a key, sorted and without repeats."""
        return tuple(sorted({s.closed_form for s in self.root.parts() if s.closed_form}))

    @property
    def units(self) -> frozenset[str]:
        return frozenset(s.unit for s in self.root.parts() if s.unit)

    def key(self, values: Values, gold: Reading | None = None) -> str:
        """The canonical key. With a `gold` answer, units are read as the gold's author would read them.

        If the gold answer has no unit, the question gives it, so all units are dropped: 5 cm equals 5. If the gold has
        a unit, a value without one takes that unit and another unit is wrong: for the gold 5 cm, 5 is correct and 5 km
        is not. Equality among the answers to one problem stays an equivalence, because all have the same gold.
        """
        if gold is None:
            return self.root.key(values, None, True)
        default = next(iter(gold.units)) if len(gold.units) == 1 else None
        return self.root.key(values, default, bool(gold.units))
