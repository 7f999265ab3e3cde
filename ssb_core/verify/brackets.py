"""Brackets among tokens: how deep they nest, what they enclose, and what stands outside of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_OPEN = frozenset(["(", "[", "{", r"\{", r"\begin", r"\lfloor", r"\lceil"])
_CLOSE = frozenset([")", "]", "}", r"\}", r"\end", r"\rfloor", r"\rceil"])


def step(token: str) -> int:
    """By how much a token changes the depth of nesting."""
    name = token.partition("{")[0] if token.startswith((r"\begin", r"\end")) else token
    return (name in _OPEN) - (name in _CLOSE)


def cut(plain: Sequence[str], separators: Iterable[str]) -> tuple[list[list[str]], list[str]]:
    """The pieces between the separators that stand outside all brackets, and those separators."""
    wanted = frozenset(separators)
    pieces: list[list[str]] = [[]]
    found = []
    depth = 0
    for token in plain:
        depth += step(token)
        if depth == 0 and token in wanted:
            found.append(token)
            pieces.append([])
        else:
            pieces[-1].append(token)
    return [list(stripped(piece)) for piece in pieces], found


def split(plain: Sequence[str], separators: Iterable[str]) -> list[list[str]]:
    """The pieces between the separators that stand outside all brackets; without a separator, one piece."""
    return cut(plain, separators)[0]


def enclosed(plain: Sequence[str]) -> bool:
    """Whether the first token opens a bracket that the last one closes."""
    depth = 0
    for i, token in enumerate(plain):
        depth += step(token)
        if depth <= 0:
            return depth == 0 and 0 < i == len(plain) - 1
    return False


def stripped(piece: Sequence[str]) -> Sequence[str]:
    """Without spaces around it."""
    start, stop = 0, len(piece)
    while start < stop and piece[start] == " ":
        start += 1
    while start < stop and piece[stop - 1] == " ":
        stop -= 1
    return piece[start:stop]
