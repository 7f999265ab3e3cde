r"""Read exact rational numbers in the many ways people write them."""

from __future__ import annotations

import hashlib
import re
from fractions import Fraction

_DECIMAL = re.compile(r"[+-]?(?:(?:[0-9]+|[1-9][0-9]{0,2}(?: [0-9]{3})+)(?:\.[0-9]*)?|\.[0-9]+)")
_REPEATING = re.compile(r"([+-]?)([0-9]*)\.([0-9]*)\\overline(?:\{([0-9]+)\}|([0-9]))")
_SCIENTIFIC = re.compile(r"([^eE\\]+)(?:[eE]|\\cdot10\^)(?:([+-]?[0-9]+)|\{([+-]?[0-9]+)\})")
_FRAC = re.compile(r"([+-]?)\\frac([0-9]|\{[^{}]+\}) ?([0-9]|\{[^{}]+\})")
_SLASH = re.compile(r"([+-]?)([^/]+)/([^/]+)")
_MIXED = re.compile(r"([+-]?)([0-9]+)(?: (?=[0-9])|(?=\\frac))(.+)")
_READABLE_BITS = 1000


def number(text: str) -> Fraction | None:
    r"""The rational in ``1,234``, ``\frac12``, ``3 1/2``, ``0.1\overline{6}``, ``1e5`` and the like; None if none."""
    body = text.removesuffix("%")
    for parse in (_decimal, _mixed, _fraction, _repeating, _scientific):
        value = parse(body)
        if value is not None:
            return value / 100 if text.endswith("%") else value
    return None


def key(value: Fraction) -> str:
    """The canonical key of a rational."""
    return f"n:{name(value)}"


def name(value: Fraction) -> str:
    """The number as ``p/q`` in lowest terms, or its digest if it is too long to read."""
    bits = value.numerator.bit_length() + value.denominator.bit_length()
    if bits < _READABLE_BITS:
        return str(value)
    return f"#{hashlib.sha256(f'{value.numerator:x}/{value.denominator:x}'.encode()).hexdigest()[:32]}"


def _decimal(text: str) -> Fraction | None:
    return Fraction(text.replace(" ", "")) if _DECIMAL.fullmatch(text) else None


def _mixed(text: str) -> Fraction | None:
    match = _MIXED.fullmatch(text)
    part = _fraction(match[3]) if match else None
    if not match or part is None or not 0 < part < 1:
        return None
    value = int(match[2]) + part
    return -value if match[1] == "-" else value


def _fraction(text: str) -> Fraction | None:
    match = _FRAC.fullmatch(text) or _SLASH.fullmatch(text)
    if not match:
        return None
    above, below = (_decimal(part.strip("{}")) for part in match.group(2, 3))
    if above is None or not below:
        return None
    return -above / below if match[1] == "-" else above / below


def _repeating(text: str) -> Fraction | None:
    r"""The value of ``0.1\overline{6}``: (16 - 1) / 90, all digits less those before the bar, over nines and zeros."""
    match = _REPEATING.fullmatch(text)
    if not match:
        return None
    sign, whole, once, again = match[1], match[2] or "0", match[3], match[4] or match[5]
    scale = 10 ** len(once) * (10 ** len(again) - 1)
    value = Fraction(int(whole + once + again) - int(whole + once), scale)
    return -value if sign == "-" else value


def _scientific(text: str) -> Fraction | None:
    match = _SCIENTIFIC.fullmatch(text)
    mantissa = _decimal(match[1]) if match else None
    return mantissa * Fraction(10) ** int(match[2] or match[3]) if match and mantissa is not None else None
