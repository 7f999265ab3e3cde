"""Evaluation of a model without a pipeline: any base, merged student or adapter, on any benchmarks.

Samples are shared with runs: an evaluation of a run's base with the run's settings is the same request. So is one of a
run's student, which is recognised by the content of its adapter.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from .. import models
from ..config import ModelConfig, RunConfig, presets
from ..config.benchmarks import Named, evaluation_tree
from ..errors import ConfigError, SSBError
from ..models.adapter import content_digest
from ..progress import PlainProgress, Progress
from ..results import queries
from ..runs import Run, StageRun
from ..runs.evaluation import Evaluation
from ..runs.pipeline import Pipeline
from ..runs.run import finished_runs
from ..stages import finished
from ..stages.baselines import Student
from ..stages.directory import TrainedSpec
from ..store import UNREADABLE, Store, digest
from .preflight import refuse_unwritable, unverifiable_notes
from .run import Span, run_here, run_pipeline

PRESET = "evaluate"
"""The name of the configuration in the summary of an evaluation."""


def evaluate(
    model: ModelConfig | str | None = None,
    benchmarks: Sequence[Named] = (),
    *,
    adapter: Path | str | None = None,
    config: RunConfig | None = None,
    overrides: Sequence[str] = (),
    store: Store | Path | str = "store",
    directory: Path | str | None = None,
    progress: Progress | None = None,
) -> Run:
    """Evaluate a model on benchmarks, and return a finished run, which `read_summary` reads.

    Args:
        model: A hub id, a directory, a GGUF file or ``nano``; by default the model of `config`. Its number type is the
            one in which its weights are stored, unless a `ModelConfig` or `overrides` say another.
        benchmarks: Names from the presets (``math500``), or definitions in the words of ``evaluate.benchmarks``; by
            default those of `config`.
        adapter: The directory of a LoRA adapter that was trained on the model.
        config: Decoding, worked examples and execution; by default those of the preset that has the benchmark.
        overrides: Changes on top, such as ``evaluate.samples=8``.
        store: A store, or its folder or URL.
        directory: The folder of report and summary; by default ``runs/`` and a name made from the settings.
        progress: The listener; by default lines on stderr.

    Raises:
        SSBError: bad input (`ConfigError`, before any work), a stage that failed, or an unusable store.
    """
    store = store if isinstance(store, Store) else Store.at(str(store))
    runs = Path(directory).parent if directory else Path("runs")
    given = None if adapter is None else Path(adapter)
    settings = configure(model, benchmarks, config, overrides, store.root)
    evaluation = prepare(settings, given, store, runs)
    directory = Path(directory) if directory else runs / evaluation_name(evaluation)
    return run_evaluation(evaluation, store, directory, progress or PlainProgress())


def configure(
    model: ModelConfig | str | None,
    benchmarks: Sequence[Named],
    given: RunConfig | None,
    overrides: Sequence[str],
    store_root: Path,
) -> RunConfig:
    """The configuration of an evaluation; the arguments are those of `evaluate`.

    Raises:
        ConfigError: no model or benchmark is named, one is not known, or a field has a wrong value.
    """
    if model is None and given is None:
        raise ConfigError("no model is named\n  remedy: --model ID, a directory, a .gguf file, or nano")
    tree = evaluation_tree(benchmarks, given, overrides)
    left = [o for o in overrides if given is None or o.startswith("model.")]  # the others are in `given`
    if model is None or isinstance(model, ModelConfig) or (given and model == given.model.source):
        section = model if isinstance(model, ModelConfig) else given.model if given else None
        assert section
        return presets.build({"model": section.model_dump(), **tree}, "the evaluation", left)
    config = presets.build({"model": {"source": model}, **tree}, "the evaluation", left)
    if any(o.startswith("model.dtype=") for o in overrides):
        return config
    dtype = models.stored_dtype(models.resolve(config.model, store_root))
    return config.model_copy(update={"model": config.model.model_copy(update={"dtype": dtype})}) if dtype else config


def prepare(config: RunConfig, adapter: Path | None, store: Store, runs: Path) -> Evaluation:
    """Find the model, the adapter and the benchmarks, and check them unless everything is in the store.

    Raises:
        ConfigError: one of them cannot be used.
    """
    refuse_unwritable(store, runs)
    model = models.resolve(config.model, store.root)
    found = models.Adapter.find(adapter) if adapter else None
    evaluation = Evaluation(config, model, find_student(found, model, store, runs) if found else None, found)
    with store.looking_once():
        if not all(finished(spec, store) for spec in evaluation.specs()):
            evaluation.check_model()
    return evaluation


def evaluation_name(evaluation: Evaluation) -> str:
    """The name of an evaluation's run: its model, and a digest of all that it depends on."""
    parts = [evaluation.config.model_dump(mode="json", exclude={"execution"}), evaluation.model.identity]
    named = evaluation.adapter
    kind = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(named.directory if named else evaluation.config.model.source).name)
    return f"{PRESET}-{kind.strip('-')[:40]}-{digest([parts, named.identity if named else None])[:6]}"


def run_evaluation(evaluation: Evaluation, store: Store, directory: Path, progress: Progress) -> Run:
    """Sample what the store does not have yet, and write summary and report into `directory`.

    Raises:
        SSBError: the folder is that of another run, a stage failed, or the store cannot be used.
    """
    result, config = Run(directory, store), evaluation.config
    _refuse_other_run(result)
    with store.looking_once():
        sets = {f"benchmark {b.name}": b for b in config.evaluate.limited_benchmarks()}
        for line in unverifiable_notes(sets, str(directory / "report.html")):
            progress.note(line)
        if config.execution.workers.used:
            progress.note("execution.workers are started by `ssb run` only; here one process makes all shards")
        open_runner = partial(run_here, began=0.0)
        run_pipeline(result, PRESET, evaluation, Span(), open_runner, progress)
    return result


def _refuse_other_run(run: Run) -> None:
    """Refuse to replace the files of a run that has more than an evaluation, whether it is finished or not."""
    stages: set[str] = set()
    with contextlib.suppress(ConfigError, LookupError, TypeError, OSError):  # an evaluation makes damaged files anew
        stages |= {*run.load_summary()["stages"]}
    with contextlib.suppress(ConfigError):
        stages |= {begun.stage for begun in run.draft.load_begun()}
    if stages - {"evaluate"}:
        raise ConfigError(f"--name {run.name} is a run with more than an evaluation\n  remedy: give another name")


def find_student(adapter: models.Adapter, model: models.ResolvedModel, store: Store, runs: Path) -> Student | None:
    """The request of a finished run that trained this adapter on `model`, so that its evaluations can be shared.

    None if no run did, or if its problems or its traces are no longer what they were.
    """
    for run in reversed(finished_runs(runs, store)):  # whatever became of a later try
        with contextlib.suppress(SSBError, LookupError, *UNREADABLE), store.looking_once():
            for student in _students(run, adapter, model):
                return student
    return None


def _students(run: Run, adapter: models.Adapter, model: models.ResolvedModel) -> Iterator[Student]:
    same = {s.fingerprint for s in run.load_stages() if s.round == 1 and _trained(run, s, adapter)}
    if not same:
        return
    pipeline = Pipeline.of(queries.load_config(run), run.store.root)
    if pipeline.model.recipe == model.recipe:
        for step in pipeline.walk(run.store):
            if isinstance(step.spec, TrainedSpec) and step.spec.fingerprint in same:
                yield step.spec  # type: ignore[misc]


def _trained(run: Run, stage_run: StageRun, adapter: models.Adapter) -> bool:
    """Whether a request of the run made an adapter with the same content."""
    manifest = run.store.manifest_by_name(stage_run.stage, stage_run.recipe, stage_run.fingerprint)
    if manifest is None or not any(f.sha256 == adapter.weights for f in manifest.files):
        return False
    path = run.store.path(manifest, next(f for f in manifest.files if f.path.endswith(models.ADAPTER_CONFIG)))
    return content_digest(adapter.weights, json.loads(path.read_text())) == adapter.identity
