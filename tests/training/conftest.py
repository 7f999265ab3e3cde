"""A store in which everything but the training is finished."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssb_core.runs import Run
from ssb_core.store import Store
from tests.support.training import without_students


@pytest.fixture
def store(quick_run: Run, tmp_path: Path) -> Store:
    """A copy of the finished store without its distillation."""
    return without_students(quick_run, tmp_path / "store")
