r"""Units of measure and currencies, by one name each. Nothing is converted: 5 m and 500 cm are different answers.

A unit is what follows a value in words (``5 cm``, ``5\text{ cm}^2``, ``5\text{ miles per hour}``, ``90^\circ``) or a
currency sign before it. Words that scale a number (million, dozen) are not units.
"""

from __future__ import annotations

from collections.abc import Sequence

_SPELLINGS = {
    "cm": "centimeter centimeters centimetre centimetres",
    "mm": "millimeter millimeters millimetre millimetres",
    "km": "kilometer kilometers kilometre kilometres",
    "m": "meter meters metre metres",
    "in": "inch inches",
    "ft": "foot feet",
    "yd": "yard yards yds",
    "mi": "mile miles",
    "g": "gram grams",
    "kg": "kilogram kilograms kgs",
    "mg": "milligram milligrams",
    "lb": "lbs",
    "oz": "ounce ounces",
    "l": "L liter liters litre litres",
    "ml": "mL milliliter milliliters millilitre millilitres",
    "s": "sec secs second seconds",
    "min": "mins minute minutes",
    "h": "hr hrs hour hours",
    "mph": "",
    "dollar": "dollars usd USD bucks",
    "cent": "cents",
    "euro": "euros eur EUR",
    "pound": "pounds",
    "sq": "square squared",
    "cu": "cubic cubed",
}
NAMES = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in (unit, *spellings.split())}
LETTERS = frozenset(["m", "g", "s", "h", "L", "l", "J", "N", "W"])
_SCALES = frozenset(
    "half quarter third tens hundred hundreds thousand thousands million millions billion billions trillion trillions "
    "dozen dozens score times factorial base mod".split()
)


def unit(words: Sequence[str]) -> str | None:
    """One name for a unit given as words, ``^``, digits and ``/``; None if that is no unit."""
    parts: list[str] = []
    power = ""
    for w in words:
        if w in _SCALES or not (w.isalpha() or w in ("^", "/", "2", "3", ".")):
            return None
        name = NAMES.get(w) or NAMES.get(w.lower()) or _singular(w.lower())
        if name in ("sq", "cu") and w not in ("squared", "cubed"):
            power = "^2" if name == "sq" else "^3"  # square inches: the power follows its unit
        elif name in ("sq", "cu"):
            parts.append("^2" if name == "sq" else "^3")
        elif name not in (".", "a", "an", "each"):
            parts += ["/" if name == "per" else name, power]
            power = ""
    return "".join(parts) or None


def _singular(name: str) -> str:
    return name[:-1] if len(name) > 3 and name.endswith("s") and not name.endswith("ss") else name
