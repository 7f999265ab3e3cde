"""The doctor's checks of a configuration."""

from __future__ import annotations

from pathlib import Path

from ssb_core.config import RunConfig
from ssb_core.doctor import Check, examinations, examine
from ssb_core.store import Store


def examined(settings: RunConfig | None, store: Path) -> dict[str, Check]:
    """Every check by its name."""
    return {check.name: check for _, check in examine(examinations(Store(store), settings))}
