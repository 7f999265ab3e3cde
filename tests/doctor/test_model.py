"""Checks of the model: whether it is available, suitable, and fits into memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ssb_core import engines
from ssb_core.config import RunConfig
from ssb_core.doctor import model
from tests.support.doctor import examined
from tests.support.tiny import write_gguf


def test_a_model_that_does_not_fit_its_token_cap_is_refused_as_a_run_would(small: RunConfig, tmp_path: Path) -> None:
    checks = examined(
        small.model_copy(update={"teach": small.teach.model_copy(update={"max_new_tokens": 2000})}), tmp_path / "store"
    )
    assert checks["use"].status == "problem" and "teach.max_new_tokens is 2000" in checks["use"].message


def without_benchmark(small: RunConfig, limit: int | None) -> RunConfig:
    """With a benchmark whose problems are not here."""
    gone = small.evaluate.benchmarks[0].model_copy(update={"source": "none.jsonl", "limit": limit})
    return small.model_copy(update={"evaluate": small.evaluate.model_copy(update={"benchmarks": (gone,)})})


def test_if_problems_are_missing_an_example_and_limits_replace_them(small: RunConfig, tmp_path: Path) -> None:
    checks = examined(without_benchmark(small, 48), tmp_path / "store")
    assert (
        checks["use"].status == "ok"
        and "(tested on an example, because not all problems are here)" in checks["use"].message
    )
    assert checks["disk"].message.startswith("at most ") and checks["disk"].message.endswith("counted by their limit")
    here = examined(small, tmp_path / "store")["disk"].message
    assert checks["disk"].message.split("; ")[0] == here
    assert examined(without_benchmark(small, None), tmp_path / "store")["disk"].status == "warning"
    gone = small.problems.model_copy(update={"source": "none.jsonl"})
    checks = examined(small.model_copy(update={"problems": gone}), tmp_path / "store")
    assert checks["use"].status == "ok" and checks["disk"].message.startswith("at most ")

    (tmp_path / "mine.jinja").write_text("{{ raise_exception('never') }}")
    broken = small.model.model_copy(update={"chat_template": str(tmp_path / "mine.jinja")})
    checks = examined(without_benchmark(small.model_copy(update={"model": broken}), 48), tmp_path / "store")
    assert checks["use"].status == "problem" and "cannot be used: never" in checks["use"].message


def test_a_model_that_a_run_would_refuse_to_convert_is_refused(small: RunConfig, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "llama3.gguf", extra="rope_freqs.weight")
    other = small.model_copy(update={"model": small.model.model_copy(update={"source": str(file)})})
    check = examined(other, tmp_path / "store")["use"]
    assert check.status == "problem" and "rope_freqs.weight would be left out" in check.message
    assert check.remedy.startswith("give the directory")


def test_a_model_is_checked_without_being_converted(small: RunConfig, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf")
    other = small.model_copy(update={"model": small.model.model_copy(update={"source": str(file)})})
    checks = examined(other, tmp_path / "store")
    assert checks["model"].message == f"{file}, will be converted once, into the store"
    assert checks["use"].message.endswith("context 2,048 tokens")
    assert checks["memory"].message.startswith("90.6 thousand parameters take 362 kB in float32")
    assert "model 362 kB" in checks["disk"].message
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("total", "free", "status"), [(100e9, 50e9, "ok"), (100e9, 5e9, "warning"), (5e9, 5e9, "problem")]
)
def test_weights_are_compared_with_memory(total: float, free: float, status: str) -> None:
    check = model.weights(3_085_938_688, "bfloat16", "cuda", int(total), int(free))
    assert check.status == status and "3.1 billion parameters take 6.17 GB" in check.message


def test_a_student_that_is_merged_is_counted_in_float32() -> None:
    check = model.weights(1_000_000_000, "bfloat16", "cpu", int(8e9), int(3e9), merged=True)
    assert check.status == "warning"
    assert "take 2 GB in bfloat16" in check.message and "merged in float32, takes 4 GB of main memory" in check.message
    assert model.weights(1_000_000_000, "bfloat16", "cuda", int(8e9), int(3e9), merged=True).status == "ok"


@pytest.mark.parametrize(
    ("engine", "adapters", "taken", "merged"),
    [
        ("vllm", "auto", "cpu", True),
        ("vllm", "auto", "cuda", False),
        ("vllm", "merged", "cuda", True),
        ("vllm", "served", "cpu", False),
        ("transformers", "auto", "cpu", False),
    ],
)
def test_a_merged_student_needs_memory_where_vllm_merges(
    engine: Any, adapters: str, taken: str, merged: bool, small: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "choose_local", lambda execution: engines.Choice(engine, "as configured"))
    vllm = small.execution.vllm.model_copy(update={"adapters": adapters})
    assert model._merges(small.execution.model_copy(update={"vllm": vllm}), taken) == merged
