"""What a benchmark is, as results state it beside every number: where its problems are from and which they are, how
they are asked, and which of them stand among the training problems."""

from __future__ import annotations

from typing import Any

from .. import problems, prompts
from ..config import Benchmark, ProblemsConfig
from ..stages import evaluate
from ..store import digest
from . import contamination as overlap

QUESTION = "{question}"


def statement(spec: evaluate.Spec, training: ProblemsConfig | None) -> dict[str, Any]:
    """A benchmark's part of summary.json, but for its scores; of a local file or an embedded set split is null.

    `training` is the problem set that the student may have learned from, if there is one.
    """
    benchmark, asked = spec.benchmark, spec.problem_set
    total = problems.count_verifiable(benchmark)
    return {
        "partial": len(asked) < total,
        "of": total,
        "content": problems.content_digest(asked),
        **_origin(benchmark),
        "form": benchmark.form,
        "answer_form": benchmark.completion_form,
        "prompt": prompts.tutor_messages(QUESTION, spec.few_shot),
        "prompt_digest": digest(prompts.tutor_messages("", spec.few_shot)),  # as the recipe holds it
        "decoding": spec.decoding.recipe,
        "overlap": contamination(training, benchmark) if training else [],
    }


def contamination(training: ProblemsConfig, benchmark: ProblemsConfig) -> list[dict[str, str]]:
    """Ids of the benchmark's problems that stand among the training problems, each with the one it stands there as."""
    return [{"id": o.benchmark_id, "training_id": o.training_id} for o in overlap.between(training, benchmark)]


def _origin(benchmark: Benchmark) -> dict[str, Any]:
    hub = problems.is_on_hub(benchmark)
    names = {"subset": benchmark.subset, "split": benchmark.split} if hub else {"subset": None, "split": None}
    return {"source": benchmark.source, **names}
