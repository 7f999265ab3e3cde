"""Sampling from the student of a finished run, or from its base model."""

from __future__ import annotations

from collections.abc import Sequence

from .. import prompts
from ..config import Decoding
from ..config.execution import Execution
from ..engines import complete, open_sampler, requests_for
from ..errors import ConfigError
from ..progress import Progress
from ..records import Completion
from ..results import queries
from ..runs import Run
from ..runs.pipeline import Pipeline
from ..stages.directory import TrainedSpec


def sample(
    run: Run,
    questions: Sequence[str],
    n: int = 1,
    *,
    model: str = "ssb",
    decoding: Decoding | None = None,
    execution: Execution | None = None,
    progress: Progress | None = None,
) -> list[list[Completion]]:
    """Answers of a run's model to bare questions, with the prompt that the student was trained on.

    Args:
        run: A finished run whose student is still in the store.
        questions: Texts to answer.
        n: Answers to each question. With temperature 0 they are all the same.
        model: ``ssb``, ``base``, or a baseline of the run.
        decoding: Temperature, top-k, token cap and seed; by default those of the run's evaluation.
        execution: Device and engine; by default those of the run.
        progress: The listener, which counts samples.

    Returns:
        For each question its `n` completions. Their ids end with the end-of-turn token, unless `finish_reason` is
        ``length`` (the token cap was reached) or ``too_long`` (the prompt leaves no room in the context).

    Raises:
        ConfigError: the run has no such model, or its model or problems are no longer what they were.
        StoreError: the store no longer has the student.
        EngineError: the engine could not sample.
    """
    config = queries.load_config(run)
    pipeline = Pipeline.of(config, run.store.root)
    student = None if model == "base" else _student(run, pipeline, model)
    decoding, progress = decoding or Decoding.model_validate(config.evaluate.recipe), progress or Progress()
    adapter = student.load_adapter(run.store) if student else None
    with open_sampler(pipeline.model, execution or config.execution, adapter, progress.note) as sampler:
        groups = (
            (i, requests_for(sampler, prompts.tutor_messages(q, ()), "sample", decoding.seed, str(i), n))
            for i, q in enumerate(questions)
        )
        progress.begin(f"sample {model}", n * len(questions), "samples")
        answers = {i: [c for _, c in pairs] for i, pairs in complete(sampler, groups, decoding, progress)}
        progress.end()
    return [answers[i] for i in range(len(questions))]


def _student(run: Run, pipeline: Pipeline, model: str) -> TrainedSpec:
    """The request for the student that the method `model` trained in the first round, from the first seed.

    Raises:
        ConfigError: the run has none.
    """
    trained = {s.fingerprint: s.model for s in run.load_stages() if s.model and not s.benchmark and s.stage != "teach"}
    with run.store.looking_once():
        for step in pipeline.walk(run.store):
            if isinstance(step.spec, TrainedSpec) and trained.get(step.spec.fingerprint) == model:
                return step.spec
    raise ConfigError(f"run {run.name} has no model {model!r}; it has {', '.join(['base', *set(trained.values())])}")
