"""Compute the keys of closed forms, exactly or to 60 digits. Nothing is simplified.

This runs in sandbox processes only: math-verify's LaTeX parser builds SymPy objects, and a hostile expression can make
that take forever. SymPy evaluates nothing. Its tree is walked here, with rationals as long as possible and mpmath after
that. Variables get fixed rational values of both signs, which depend on their names only. Two expressions are equal if
they agree at all of these points.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import sympy
from antlr4.atn.PredictionMode import PredictionMode
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, _Latex2Sympy

from . import notation, rationals
from .latex import OutOfBoundsError

_MP = mpmath.mp.clone()
_MP.dps = 60
DIGITS = 12  # significant digits of a key
POINTS = 6  # at which expressions in variables are compared
MAX_BITS = 200_000
MAX_FACTORIAL = 3000
_NEGLIGIBLE = _MP.mpf(10) ** -45  # a sum this small relative to its terms is 0
_HUGE = _MP.mpf(10) ** 30  # a value this large is a pole, or an argument without exact digits
_CLOSED_FORM = re.compile(r"(>=|>|=)?([^|]*)\|(.*)", re.DOTALL)

Number = Any
"""A Fraction if the value is exact, else a real or complex number of mpmath."""


class UndefinedError(ArithmeticError):
    """The expression has no value, or its value is not a number."""


def key(closed_form: str) -> str | None:
    """The key of an expression or relation that `notation` wrote. None if it has no value or cannot be parsed.

    Raises:
        OutOfBoundsError: a power or a factorial in it is too large to compute.
        MemoryError: it needs more memory than the process may use.
    """
    relation, names, expression = _CLOSED_FORM.fullmatch(closed_form).groups()  # type: ignore[union-attr]
    variables = dict(zip(notation.SAFE, names.split(","), strict=False)) if names else {}
    try:
        tree = _parsed(expression)
        if {str(s) for s in tree.free_symbols} - {"i"} != set(variables):
            return None  # the parser dropped a variable
        points = [{v: point(name, k) for v, name in variables.items()} for k in range(POINTS if variables else 1)]
        values = [_settled(_value(tree, at)) for at in points]
        return _relation(relation, values) if relation else _function(list(variables.values()), values)
    except (OutOfBoundsError, MemoryError):
        raise
    except RecursionError:
        raise OutOfBoundsError("nested too deeply") from None
    except Exception:  # the parser, mpmath and SymPy raise a dozen kinds; all mean "no value"
        return None


def _parsed(expression: str) -> sympy.Expr:
    try:
        tree = _Parser(PredictionMode.SLL).parse(expression)
    except Exception:  # both modes give the same tree, but the fast one fails on some expressions
        tree = _Parser(PredictionMode.LL).parse(expression)
    if not isinstance(tree, sympy.Expr):
        raise UndefinedError
    return tree


def warm_up() -> None:
    """Parse typical answers once. The parser builds its tables as it goes, which is slow."""
    for written in (
        r"|3\cdot \sqrt{13}+ \frac{\sqrt{2}}{2}- (2)^{(3+ 1)}\cdot \pi ",
        r"x,y|\frac{11+ 9\cdot a }{20}- (5)\cdot (a )^{2}\cdot b + ((3+ 1))\cdot b + 1",
        r"=x,y|(a + 5)\cdot (b - 2)- ((a )^{2}- 1)- (0)",
        r"x|-(\sqrt[3]{2})/ (7- 5\cdot i )+ (e )^{2\cdot a }",
        r"x|(\sin^{2}(30\cdot \frac{\pi}{180}))+ (\log_{2}(a ))- (\ln(2))+ 5!+ \binom{5}{2}- | a | ",
    ):
        key(written)


class _Parser(_Latex2Sympy):  # type: ignore[misc]
    """math-verify's parser in a prediction mode of ANTLR. SLL is four times faster than the default LL."""

    def __init__(self, mode: Any) -> None:
        super().__init__(config=ConversionConfig(interpret_as_mixed_fractions=False, lowercase_symbols=False))
        self.mode = mode

    def create_parser(self, latex_str: str) -> Any:
        parser = super().create_parser(latex_str)
        parser._interp.predictionMode = self.mode
        return parser


def point(name: str, k: int) -> Fraction:
    """The value of a variable at point `k`. It is never a short decimal.

    At point 0 all values are positive. After that, the signs are the bits of the letter's number, so that any two
    letters differ in one. The sizes are in turn between 1 and 2, below 1, and between 5 and 12: at large values a high
    power hides the terms beside it, and at small values they hide the power.
    """
    drawn = int.from_bytes(hashlib.sha256(f"{name}/{k}".encode()).digest()[:8], "big")
    low, high = ((1, 2), (Fraction(1, 4), Fraction(3, 4)), (5, 12))[k % 3]
    value = low + (high - low) * Fraction(1 + drawn % 209, 211)
    negative = k and (sum(map(ord, name)) % 31 + 1) >> (k - 1) & 1
    return -value if negative else value


def _relation(sign: str, values: list[Number]) -> str | None:
    """The key of a relation, up to a constant factor. For inequalities only a positive factor is removed."""
    scale = _lift(values[0])
    if len(values) == 1 or not scale:
        return None
    scale = scale if sign == "=" else abs(scale)
    return f"{sign}:{' '.join(_written(_settled(_lift(v) / scale)) for v in values)}"


def _function(names: list[str], values: list[Number]) -> str:
    """The key of the expression with these values. A constant and a single variable have simpler keys."""
    texts = [_written(v) for v in values]
    if len(set(texts)) == 1:
        first = values[0]
        return rationals.key(first) if isinstance(first, Fraction) else f"c:{texts[0]}"
    for name in names:
        if values == [point(name, k) for k in range(POINTS)]:
            return f"s:{name}"
    return f"f:{' '.join(_digits(v, 2 * DIGITS) for v in values)}"


def _written(value: Number, digits: int = DIGITS) -> str:
    return rationals.name(value) if isinstance(value, Fraction) else _digits(value, digits)


def _digits(value: Number, digits: int = DIGITS) -> str:
    """A real number, or both parts of a complex one, to that many significant digits."""
    value = _lift(value)
    if isinstance(value, _MP.mpc):
        return ",".join(_written(_settled(part), digits) for part in (value.real, value.imag)) + "i"
    return str(_MP.nstr(value, digits, strip_zeros=False, min_fixed=1, max_fixed=0))


def _lift(value: Number) -> Number:
    return _MP.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def _settled(value: Number) -> Number:
    """The value as a Fraction if it equals one to 45 digits, and as a real number if it has no imaginary part."""
    if isinstance(value, Fraction):
        return value
    if isinstance(value, _MP.mpc):
        if abs(value.imag) > abs(value) * _NEGLIGIBLE:
            return value if abs(value.real) > abs(value) * _NEGLIGIBLE else _MP.mpc(0, value.imag)
        value = value.real
    if not _MP.isfinite(value):
        raise UndefinedError
    if abs(value) < 10**36:
        nearest = _nearest(value)
        if abs(_lift(nearest) - value) <= abs(value) * _NEGLIGIBLE:
            return nearest
    return value


def _nearest(value: Number) -> Fraction:
    """The nearest fraction with a denominator so small that a chance match has a probability of 1 in 10^9."""
    sign, mantissa, exponent, _ = value._mpf_
    exact = Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
    simple = min(10**12, math.isqrt(10**36 // max(1, int(exact))))
    return (-exact if sign else exact).limit_denominator(simple)


# ---------------------------------------------------------------- the walk


def _value(node: Any, at: dict[str, Fraction]) -> Number:
    """The value of a SymPy tree, with its variables `at` these values."""
    if node.is_Symbol:
        return _MP.mpc(0, 1) if node.name == "i" else at[node.name]
    if node.is_Rational:
        return Fraction(int(node.p), int(node.q))
    if node is sympy.pi:
        return +_MP.pi
    if node is sympy.E:
        return +_MP.e
    compute = _OPERATIONS.get(type(node).__name__)
    if compute is None:
        raise UndefinedError
    arguments = [_value(argument, at) for argument in node.args]
    if compute is _power and node.exp.free_symbols:
        return _power(arguments[0], _MP.mpc(_lift(arguments[1])))  # not a root: (-1)^n is not 1 at n = 2/3
    return compute(*arguments)


def _add(*terms: Number) -> Number:
    """A sum. A result that is negligible beside the largest term is 0."""
    if all(isinstance(t, Fraction) for t in terms):
        return sum(terms, Fraction(0))
    lifted = [_lift(t) for t in terms]
    return _without_noise(_MP.fsum(lifted), max(abs(t) for t in lifted))


def _without_noise(value: Number, scale: Number) -> Number:
    if isinstance(value, _MP.mpc):
        parts = [p if abs(p) > scale * _NEGLIGIBLE else _MP.mpf(0) for p in (value.real, value.imag)]
        return _MP.mpc(*parts) if any(parts) else Fraction(0)
    return value if abs(value) > scale * _NEGLIGIBLE else Fraction(0)


def _multiply(*factors: Number) -> Number:
    if all(isinstance(f, Fraction) for f in factors):
        return math.prod(factors, start=Fraction(1))
    if any(f == 0 for f in factors):
        return Fraction(0)
    return _MP.fprod(_lift(f) for f in factors)


def _power(base: Number, exponent: Number) -> Number:
    base = _settled(base)
    if not isinstance(exponent, _MP.mpc):
        exponent = _settled(exponent)
    if base == 0:
        if isinstance(exponent, Fraction) and exponent > 0:
            return Fraction(0)
        raise UndefinedError
    if isinstance(exponent, Fraction):
        _refuse_huge(base, exponent)
        if isinstance(base, Fraction) and (exact := _rational_power(base, exponent)) is not None:
            return exact
        if not isinstance(base, _MP.mpc) and base < 0 and exponent.denominator % 2:
            sign = -1 if exponent.numerator % 2 else 1
            return sign * _MP.power(_lift(-base), _lift(exponent))  # problems mean the real root
    elif abs(_lift(exponent)) > 10**9:
        raise OutOfBoundsError("a power too large to compute")
    return _MP.power(_lift(base), _lift(exponent))


def _refuse_huge(base: Number, exponent: Fraction) -> None:
    size = abs(_MP.log(abs(_lift(base)), 2))
    if size * abs(exponent) > MAX_BITS or exponent.numerator.bit_length() > 4000:
        raise OutOfBoundsError("a power too large to compute")


def _rational_power(base: Fraction, exponent: Fraction) -> Fraction | None:
    """The power, or None if it is not rational."""
    if exponent.denominator == 1:
        return base**exponent.numerator
    if exponent.denominator > 64 or (base < 0 and exponent.denominator % 2 == 0):
        return None
    roots = [sympy.integer_nthroot(abs(part), exponent.denominator) for part in (base.numerator, base.denominator)]
    if not all(exact for _, exact in roots):
        return None
    root = Fraction(int(roots[0][0]), int(roots[1][0]))
    return (-root if base < 0 else root) ** exponent.numerator


def _factorial(n: Number) -> Number:
    n = _settled(n)
    if isinstance(n, Fraction) and n.denominator == 1:
        if n > MAX_FACTORIAL:
            raise OutOfBoundsError("a factorial too large to compute")
        if n < 0:
            raise UndefinedError
        return Fraction(math.factorial(int(n)))
    if abs(_lift(n)) > MAX_FACTORIAL:
        raise OutOfBoundsError("a factorial too large to compute")
    return _MP.gamma(_lift(n) + 1)


def _binomial(n: Number, k: Number) -> Number:
    return _MP.binomial(_bounded(n), _bounded(k))


def _logarithm(value: Number, base: Number = None) -> Number:
    value = _settled(value)
    if value == 0 or base == 1:
        raise UndefinedError
    if value == 1:
        return Fraction(0)
    return _MP.log(_lift(value)) / (_MP.log(_lift(base)) if base is not None else 1)


def _rounded(rounding: Callable[[Number], Number]) -> Callable[[Number], Number]:
    def compute(value: Number) -> Number:
        value = _settled(value)
        return Fraction(int(rounding(value if isinstance(value, Fraction) else _bounded(value))))

    return compute


def _smooth(function: Callable[[Number], Number]) -> Callable[[Number], Number]:
    """An mpmath function whose zeros and poles are separated from rounding errors."""

    def compute(value: Number) -> Number:
        result = function(_bounded(value))
        if abs(result) > _HUGE:
            raise UndefinedError
        return _without_noise(result, _MP.mpf(1)) if function in _PERIODIC else result

    return compute


def _bounded(value: Number) -> Number:
    value = _lift(value)
    if abs(value) > _HUGE:
        raise UndefinedError
    return value


_PERIODIC = (_MP.sin, _MP.cos, _MP.tan, _MP.cot)
_SMOOTH = {
    **{name: getattr(_MP, name) for name in "sin cos tan cot sec csc asin acos atan acot asec acsc".split()},
    **{name: getattr(_MP, name) for name in "sinh cosh tanh asinh acosh atanh".split()},
}
_OPERATIONS: dict[str, Callable[..., Number]] = {
    "Add": _add,
    "Mul": _multiply,
    "Pow": _power,
    "exp": lambda value: _power(+_MP.e, value),
    "log": _logarithm,
    "Abs": abs,
    "floor": _rounded(math.floor),
    "ceiling": _rounded(math.ceil),
    "factorial": _factorial,
    "binomial": _binomial,
    "UnevaluatedExpr": lambda value: value,
    **{name: _smooth(function) for name, function in _SMOOTH.items()},
}
