"""Brackets among tokens: their depth, what they enclose, and the separators outside of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_OPEN = frozenset(["(", "[", "{", r"\{", r"\begin", r"\lfloor", r"\lceil"])
_CLOSE = frozenset([")", "]", "}", r"\}", r"\end", r"\rfloor", r"\rceil"])


def step(token: str) -> int:
    """The change of nesting depth at a token: 1, 0 or -1."""
    name = token.partition("{")[0] if token.startswith((r"\begin", r"\end")) else token
    return (name in _OPEN) - (name in _CLOSE)


def cut(plain: Sequence[str], separators: Iterable[str]) -> tuple[list[list[str]], list[str]]:
    """Split at the separators outside all brackets. Returns the pieces and the separators between them."""
    cuts = frozenset(separators)
    pieces: list[list[str]] = [[]]
    between = []
    depth = 0
    for token in plain:
        depth += step(token)
        if depth == 0 and token in cuts:
            between.append(token)
            pieces.append([])
        else:
            pieces[-1].append(token)
    return [list(stripped(piece)) for piece in pieces], between


def split(plain: Sequence[str], separators: Iterable[str]) -> list[list[str]]:
    """The pieces between the separators outside all brackets. Without a separator there is one piece."""
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
    """The piece without spaces at either end."""
    start, stop = 0, len(piece)
    while start < stop and piece[start] == " ":
        start += 1
    while start < stop and piece[stop - 1] == " ":
        stop -= 1
    return piece[start:stop]
