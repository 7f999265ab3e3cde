"""The nearest known name for one that is unknown, for messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

CUTOFF = 0.7  # of difflib's ratio; with its own default, 0.6, "nonsense" would look like "seed"


def nearest(given: str, known: Iterable[str], n: int = 1) -> list[str]:
    """Up to `n` of the `known` names that look like `given` or begin with it, the best first. Case does not count."""
    by_lower, asked = {name.lower(): name for name in known}, given.lower()
    longer = [name for name in by_lower if len(asked) > 2 and name.startswith(asked)]
    alike = difflib.get_close_matches(asked, by_lower, n=n, cutoff=CUTOFF)
    return [by_lower[name] for name in dict.fromkeys((*alike, *longer))][:n]


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: ``; did you mean 'x'?``, or nothing if no known name is similar."""
    found = nearest(given, known) if isinstance(given, str) and len(given) <= 200 else []
    return f"; did you mean {found[0]!r}?" if found else ""
