"""The description of a benchmark in results: source, prompt, decoding, and overlap with training."""

from __future__ import annotations

from typing import Any

from .. import problems, prompts
from ..config import Benchmark, ProblemsConfig
from ..stages import evaluate
from ..store import digest
from . import contamination

QUESTION = "{question}"


def describe(spec: evaluate.Spec, training: ProblemsConfig | None) -> dict[str, Any]:
    """A benchmark's part of summary.json, without its scores. `split` is None for a local file or an embedded set.

    `training` is the problem set that the student may have learned from, if there is one.
    """
    benchmark, problem_set = spec.benchmark, spec.load_problem_set()
    total = problems.count_verifiable(benchmark)
    return {
        "partial": len(problem_set) < total,
        "of": total,
        "content": problems.content_digest(problem_set),
        **_source(benchmark),
        "form": benchmark.form,
        "answer_form": benchmark.completion_form,
        "prompt": prompts.tutor_messages(QUESTION, spec.few_shot),
        "prompt_digest": digest(prompts.tutor_messages("", spec.few_shot)),  # the same as in the recipe
        "decoding": spec.decoding.recipe,
        "overlap": contaminated_ids(training, benchmark) if training else [],
    }


def contaminated_ids(training: ProblemsConfig, benchmark: ProblemsConfig) -> list[dict[str, str]]:
    """The benchmark's problems that are also training problems, as rows of `id` and `training_id`."""
    contaminated = contamination.between(training, benchmark)
    return [{"id": c.benchmark_id, "training_id": c.training_id} for c in contaminated]


def _source(benchmark: Benchmark) -> dict[str, Any]:
    on_hub = problems.is_on_hub(benchmark)
    parts = {"subset": benchmark.subset, "split": benchmark.split} if on_hub else {"subset": None, "split": None}
    return {"source": benchmark.source, **parts}
