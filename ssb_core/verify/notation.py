r"""Rewrite a scalar expression so that it can be read in only one way.

Arguments get braces, products get a sign, decimals become fractions, degrees inside functions become radians, and
variables get letters without a special meaning. Anything that may not be mathematics is refused, so that the LaTeX
parser never has to guess. Without this, it reads ``2(3)`` as the mixed number 5 and ``d \cdot x`` as a differential,
drops ``^\circ``, and takes ``I`` for the imaginary unit and ``\Gamma`` for Euler's constant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .latex import MAX_DEPTH, is_number

TRIGONOMETRIC = frozenset(r"\sin \cos \tan \cot \sec \csc".split())
FUNCTIONS = TRIGONOMETRIC | frozenset(r"\arcsin \arccos \arctan \sinh \cosh \tanh \log \ln \exp".split())
GREEK = tuple(
    r"\alpha \beta \gamma \delta \epsilon \varepsilon \zeta \eta \theta \kappa \lambda \mu \nu \xi \rho \sigma \tau "
    r"\phi \varphi \chi \psi \omega \Gamma \Delta \Theta \Lambda \Sigma \Phi \Psi \Omega".split()
)
SAFE = "abcjklmnopqrstuvwxyz"  # the parser reads these letters as plain variables
_NUMERIC_FRACTION = re.compile(r"\\frac\{(\d+)\}\{(\d+)\}")
_CLOSERS = {"(": ")", "[": "]", "{": "}", "|": "|", r"\lfloor": r"\rfloor", r"\lceil": r"\rceil"}


class NotMathError(ValueError):
    """The tokens are not an expression with exactly one reading."""


def unambiguous(tokens: Sequence[str], relation: str = "") -> str:
    r"""The expression in strict LaTeX, after the names of its variables: ``x_{1},\theta|3\cdot a + b``.

    In the expression, the letters of `SAFE` stand for the named variables in order. A `relation` of the expression to
    zero (``=``, ``>``, ``>=``) is put in front of everything.

    Raises:
        NotMathError: the tokens are not a scalar expression, or have two readings.
    """
    writer = _Writer(tokens)
    written = writer.expression(None)
    if writer.left:
        raise NotMathError
    return f"{relation}{','.join(writer.letters)}|{written}"


class _Writer:
    """Recursive descent over tokens. They are kept in reverse, so that the next token is the last item."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self.left = [t for t in reversed(tokens) if t != " "]
        self.angles = 0  # number of functions around the current token
        self.depth = 0
        self.letters: dict[str, str] = {}  # the letter that is written for each variable

    def peek(self) -> str:
        return self.left[-1] if self.left else ""

    def expression(self, closer: str | None) -> str:
        """Write everything up to `closer`, which is consumed."""
        out: list[str] = []
        value = False  # whether a value just ended, so that a value after it is a factor
        while (token := self.peek()) != (closer or ""):
            if not token:
                raise NotMathError
            if token in ("+", "-", r"\cdot", "/"):
                if not value and token in (r"\cdot", "/"):
                    raise NotMathError
                out.append(self.left.pop() + " ")
                value = False
            elif token in ("^", "!"):
                if not value:
                    raise NotMathError
                out.append(self.postfix())
            elif token == r"\degree" and value:
                self.left.pop()
                out.append(r"\cdot \frac{\pi}{180}" if self.angles else "")
            else:
                if value and out[-1][:1] not in ("!", "^") and (is_number(token) or token == "."):
                    raise NotMathError  # such as x 3 or 1 000
                self.append_factor(out, value)
                value = True
        if closer:
            self.left.pop()
        if not value:
            raise NotMathError
        return "".join(out)

    def append_factor(self, out: list[str], value: bool) -> None:
        r"""Write a factor after `out`. A fraction after a whole number is added to it: ``2\frac12 x``."""
        written = self.factor()
        mixed = _NUMERIC_FRACTION.fullmatch(written) if value and out[-1].isdigit() else None
        if not mixed:
            out.append((r"\cdot " if value else "") + written)
        elif int(mixed[1]) < int(mixed[2]):
            out[-1] = f"({out[-1]}+ {written})"
        else:
            raise NotMathError  # people write neither mixed numbers nor products like that

    def postfix(self) -> str:
        if self.left.pop() == "!":
            if self.peek() == "!":
                raise NotMathError  # a double factorial
            return "!"
        return f"^{{{self.argument(whole_number=True)}}}"

    def factor(self) -> str:
        """Write one value, without a power or factorial after it."""
        if self.depth == MAX_DEPTH:
            raise NotMathError
        self.depth += 1
        written = self._factor(self.left.pop())
        self.depth -= 1
        return written

    def _factor(self, token: str) -> str:
        if is_number(token) or token == ".":
            return self.decimal(token)
        if token == r"\pi":
            return self.symbol(r"\pi")
        if (len(token) == 1 and token.isascii() and token.isalpha()) or token in GREEK:
            return self.variable(token)
        if token in ("(", "[", "{"):
            return f"({self.expression(_CLOSERS[token])})"
        if token in ("|", r"\lfloor", r"\lceil"):
            return f"{token} {self.expression(_CLOSERS[token])}{_CLOSERS[token]} "
        if token in (r"\frac", r"\binom"):
            return f"{token}{{{self.argument()}}}{{{self.argument()}}}"
        if token == r"\sqrt":
            return self.root()
        if token in FUNCTIONS:
            return self.function(token)
        raise NotMathError

    def decimal(self, token: str) -> str:
        digits = token if token != "." else ""
        if token != "." and self.peek() == ".":
            self.left.pop()
            token = "."
        if token == ".":
            places = self.left.pop() if is_number(self.peek()) else ""
            if not digits and not places:
                raise NotMathError
            if places:
                return rf"\frac{{{int(digits + places)}}}{{{10 ** len(places)}}}"
        return str(int(digits))

    def variable(self, letter: str) -> str:
        if self.peek() == "_":
            self.left.pop()
            index = self.subscript()
            if letter in ("e", "i"):
                raise NotMathError
            return self.named(f"{letter}_{{{index}}}")
        if self.peek() == "(" and letter in ("f", "g", "h"):
            raise NotMathError  # an unknown function rather than a product
        if self.peek() == "'":
            raise NotMathError
        return letter + " " if letter in ("e", "i") else self.named(letter)

    def named(self, name: str) -> str:
        """Write the letter of a variable."""
        if name not in self.letters:
            if len(self.letters) == len(SAFE):
                raise NotMathError
            self.letters[name] = SAFE[len(self.letters)]
        return self.symbol(self.letters[name])

    def symbol(self, written: str) -> str:
        """Write a symbol. The base of a power gets parentheses, else the parser's fast mode expects an index."""
        return f"({written} )" if self.peek() == "^" else f"{written} "

    def subscript(self) -> str:
        token = self.left.pop() if self.left else ""
        if token == "{":
            inside = []
            while self.peek() not in ("}", ""):
                inside.append(self.left.pop())
            if not self.left:
                raise NotMathError
            self.left.pop()
            token = "".join(inside)
        if not (token.isascii() and token.isalnum()):
            raise NotMathError
        return token

    def root(self) -> str:
        index = ""
        if self.peek() == "[":
            self.left.pop()
            index = f"[{self.expression(']')}]"
        if is_number(self.peek()) and len(self.peek()) > 1:
            raise NotMathError  # TeX typesets the root of 1, but the author meant 13
        return rf"\sqrt{index}{{{self.argument()}}}"

    def argument(self, whole_number: bool = False) -> str:
        """Write the argument of a command: a group or, as in TeX, the next token. A power takes the whole number."""
        token = self.peek()
        if token in ("{", "("):
            self.left.pop()
            return self.expression(_CLOSERS[token])
        if is_number(token):
            self.left.pop()
            if whole_number:
                return str(int(token))
            if token[1:]:
                self.left.append(token[1:])
            return token[0]
        if token == "-" and whole_number and len(self.left) > 1 and is_number(self.left[-2]):
            self.left.pop()
            return f"-{int(self.left.pop())}"
        if token in ("", "+", "-", r"\cdot", "/", "^", "_", "|") or token in FUNCTIONS:
            raise NotMathError
        return self.factor()

    def function(self, name: str) -> str:
        """Write ``\\sin^2 2x`` as ``(\\sin^{2}(2x))``. An argument without brackets ends at a sum or product sign."""
        power = base = ""
        while self.peek() in ("^", "_"):
            if self.left.pop() == "^":
                power = f"^{{{self.argument(whole_number=True)}}}"
            elif name == r"\log":
                base = f"_{{{self.argument(whole_number=True)}}}"
            else:
                raise NotMathError
        self.angles += 1
        if self.peek() == "(":
            self.left.pop()
            argument = self.expression(")")
        else:
            argument = self.implicit_argument()
        self.angles -= 1
        return f"({name}{base}{power}({argument}))"

    def implicit_argument(self) -> str:
        out: list[str] = []
        while (token := self.peek()) and self._continues(token, bool(out)):
            if token in ("^", "!"):
                out.append(self.postfix())
            elif token == r"\degree":
                self.left.pop()
                out.append(r"\cdot \frac{\pi}{180}")
            else:
                self.append_factor(out, bool(out))
        if not out or self.peek() == "/":
            raise NotMathError  # sin pi/6 has two readings
        return "".join(out)

    def _continues(self, token: str, begun: bool) -> bool:
        if token in ("^", "!", r"\degree"):
            return begun
        if is_number(token[0]) or token in ("{", "|"):
            return not begun
        return token.isalpha() or token in GREEK or token in (r"\pi", r"\frac", r"\sqrt", r"\binom")
