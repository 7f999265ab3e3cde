r"""Units of measure and currencies, by one name each. Nothing is converted: 5 m and 500 cm are different answers.

A unit follows a value in words (``5 cm``, ``5\text{ cm}^2``, ``5\text{ miles per hour}``, ``90^\circ``) or is a
currency sign before it. Words are not units if they scale a number (million, dozen), continue the computation, or take
the answer back.
"""

from __future__ import annotations

import re
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
    "mi/h": "mph",
    "dollar": "dollars usd USD bucks",
    "cent": "cents",
    "euro": "euros eur EUR",
    "pound": "pounds",
    "sq": "square squared",
    "cu": "cubic cubed",
    "C": "celsius centigrade",
    "F": "fahrenheit",
}
NAMES = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in (unit, *spellings.split())}
LETTERS = frozenset(["m", "g", "s", "h", "L", "l", "J", "N", "W"])
_NO_UNITS = frozenset(  # their plurals and numerals are not units either: see _is_no_unit
    # these scale the number or count in parts
    "hundred thousand bn mn mil lakh crore dozen score gross pair couple k half halves third quarter fourth fifth "
    "sixth seventh eighth ninth tenth eleventh twelfth hundredth thousandth percent pct permille ppm percentage "
    "repeating recurring googol mega grand "
    # these continue the computation
    "plus minus divided over root power choose remainder less than mod times multiplied subtracted added doubled "
    "tripled twice negated raised binary out modulo base factorial and or to through zero one two three four five "
    "six seven eight nine ten eleven twelve twenty "
    # these take the answer back
    "is are was not no never wrong incorrect false except isn negative below above least most am pm".split()
)
_NUMERAL = re.compile(r"\w+(?:teens?|teenths?|ieths?|illions?|illionths?|fold)|(?:thir|for|fif|six|seven|eigh|nine)ty")
MONEY = ("dollar", "cent", "euro", "pound", "yen")
MAX_WORDS = 6


def unit(words: Sequence[str]) -> str | None:
    """The name of a unit given as words, ``^``, digits and ``/``. None if it is not a unit. Money loses its rate."""
    if len(words) > MAX_WORDS:
        return None
    parts: list[str] = []
    power = ""
    for before, w in zip(["", *words], words, strict=False):
        if not (w.isalpha() or w in ("^", "/", ".") or (before == "^" and w in ("2", "3"))) or _is_no_unit(w.lower()):
            return None
        name = NAMES.get(w) or NAMES.get(w.lower()) or _singular(w.lower())
        if name in ("sq", "cu") and w not in ("squared", "cubed"):
            power = "^2" if name == "sq" else "^3"  # square inches: the power follows its unit
        elif name in ("sq", "cu"):
            if not parts:
                return None  # 5 squared
            parts.append("^2" if name == "sq" else "^3")
        elif name not in (".", "a", "an"):
            parts += ["/" if name == "per" else name, power]
            power = ""
    return parts[0] if parts and parts[0] in MONEY else "".join(parts) or None


def _is_no_unit(w: str) -> bool:
    return w in _NO_UNITS or _singular(w) in _NO_UNITS or bool(_NUMERAL.fullmatch(w))


def _singular(name: str) -> str:
    return name[:-1] if len(name) > 3 and name.endswith("s") and not name.endswith("ss") else name
