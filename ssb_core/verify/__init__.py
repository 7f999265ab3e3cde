"""The verifier: decide whether a completion's final answer equals the problem's reference answer.

`verifier` is the public part. `extract` finds the answer in a text. `latex`, `notation`, `structure`, `units` and
`rationals` read it, `canonical` gives it a key (its first page is the policy of equality), and `sandbox` computes
closed forms in processes that can be killed.
"""

from __future__ import annotations

from .verifier import Verifier, unverifiable, versions

__all__ = ("Verifier", "unverifiable", "versions")
