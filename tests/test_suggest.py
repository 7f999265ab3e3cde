"""The nearest known name."""

from __future__ import annotations

import pytest

from ssb_core.suggest import did_you_mean, nearest


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("sample", "samples"),
        ("smaples", "samples"),
        ("SEED", "seed"),
        ("tem", "temperature"),
        ("nonsense", None),
        ("t", None),
    ],
)
def test_a_name_with_a_slip_or_its_beginning_is_recognised(given: str, meant: str | None) -> None:
    assert nearest(given, ["samples", "seed", "temperature"]) == [meant] * bool(meant)
    assert did_you_mean(given, ["samples", "seed", "temperature"]) == (f"; did you mean {meant!r}?" if meant else "")


@pytest.mark.parametrize("given", [None, 3, ["samples"], "x" * 100_000])
def test_nothing_is_suggested_for_what_is_no_name(given: object) -> None:
    assert did_you_mean(given, ["samples"]) == ""
