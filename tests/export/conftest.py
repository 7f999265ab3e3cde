"""Everything there is to export, of one finished run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from ssb_core import models
from ssb_core.config import ProblemsConfig
from ssb_core.export import Kind, export
from ssb_core.results.provenance import Provenance
from ssb_core.runs import Run


@pytest.fixture(scope="session")
def exports(quick_run: Run, shared: Path) -> dict[Kind, Path]:
    """An export of each kind, made once for all processes of the suite; tests must not change them."""
    root = shared / "exports"
    targets: dict[Kind, Path] = {"adapter": root / "adapter", "merged": root / "merged", "dataset": root / "dataset"}
    with FileLock(f"{root}.lock"):
        if not targets["dataset"].exists():
            export(quick_run, targets, signal=True)
    return targets


@pytest.fixture
def on_hub(quick_run: Run) -> Provenance:
    """The run as if its base were from the hub, asked with examples, in 16 bit."""
    provenance = Provenance.load(quick_run)
    commit = "aa8e72537993ba99e69dfaafa59ed015b17504d1"
    model = models.ResolvedModel(
        source="Qwen/Qwen2.5-3B-Instruct",
        revision=commit,
        identity=f"Qwen/Qwen2.5-3B-Instruct@{commit}",
        dtype="bfloat16",
    )
    config = provenance.config.model_copy(update={"problems": ProblemsConfig(source="openai/gsm8k", subset="main")})
    return replace(provenance, model=model, config=config)
