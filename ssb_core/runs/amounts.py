"""Amounts of work that is still to do: samples, tokens, time and disk, each with how certain it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Certainty = Literal["exact", "about", "at most", "at least"]
CERTAINTIES: tuple[Certainty, ...] = ("exact", "about", "at most", "at least")
"""From the most to the least certain. A sum or product is as certain as its least certain part."""


@dataclass(frozen=True, slots=True)
class Amount:
    """A number that is exact, estimated (``about``), or a bound."""

    value: float = 0
    certainty: Certainty = "exact"

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.value + other.value, _least_certain(self, other))

    def __mul__(self, other: Amount | float) -> Amount:
        factor = other if isinstance(other, Amount) else Amount(other)
        return Amount(self.value * factor.value, _least_certain(self, factor))


UNKNOWN = Amount(0, "at least")


def about(value: float) -> Amount:
    """An estimate."""
    return Amount(value, "about")


def at_most(value: float) -> Amount:
    """An upper bound."""
    return Amount(value, "at most")


def _least_certain(*amounts: Amount) -> Certainty:
    return max((a.certainty for a in amounts), key=CERTAINTIES.index)


@dataclass(frozen=True, slots=True)
class Amounts:
    """The work on one request, or the sum of several. `bytes` counts what stays in the store.

    `assumed` says that the store has no earlier work from which the time could be estimated, so that fixed rates were
    used.
    """

    samples: Amount = Amount()
    tokens: Amount = Amount()
    seconds: Amount = Amount()
    bytes: Amount = Amount()
    assumed: bool = False

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(
            self.samples + other.samples,
            self.tokens + other.tokens,
            self.seconds + other.seconds,
            self.bytes + other.bytes,
            self.assumed or other.assumed,
        )

    def __mul__(self, times: int) -> Amounts:
        return Amounts(
            self.samples * times, self.tokens * times, self.seconds * times, self.bytes * times, self.assumed
        )


NOTHING = Amounts()
