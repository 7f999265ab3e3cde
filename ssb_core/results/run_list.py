"""All runs of a folder: their results, and the fields in which their configurations differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from ..config import RunConfig
from ..config.settings import EvaluateConfig
from ..errors import ConfigError
from ..runs import SUMMARY_FORMAT, Run, status
from ..runs.recipes import flatten
from ..store import UNREADABLE, Store
from . import queries

Order = Literal["accuracy", "time", "name"]
PLACES = ("execution",)
"""Sections of a configuration that change no result, so that runs do not differ in them."""


@dataclass(frozen=True, slots=True)
class ListedRun:
    """One run. A run that is not finished has no results; `detail` says how far it came.

    `fields` is its configuration by dotted field name (see `configured`). `accuracy` is by benchmark and model.
    `seconds` is the time that its results took, and `traces` the number that its student was trained on.
    """

    name: str
    state: str
    when: float
    detail: str
    evaluation: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)
    accuracy: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    traces: int | None = None
    seconds: float | None = None

    @property
    def best(self) -> float:
        """The accuracy by which runs are sorted: of the student, else of the base, mean over benchmarks; else -1."""
        scores = [models.get("ssb", next(iter(models.values()))) for models in self.accuracy.values()]
        return sum(scores) / len(scores) if scores else -1.0


def list_runs(folder: Path, store: Store, order: Order = "time") -> list[ListedRun]:
    """Every run in a folder. By `accuracy` and `time` the best and the latest come first; unfinished ones last."""
    runs = [_listed(Run(folder / s.name, store), s) for s in status.runs(folder, store)]
    if order == "name":
        return sorted(runs, key=lambda r: r.name)
    if order == "accuracy":
        return sorted(runs, key=lambda r: (-r.best, -r.when))
    return sorted(runs, key=lambda r: (not r.accuracy and r.seconds is None, -r.when))


def _listed(run: Run, found: status.RunStatus) -> ListedRun:
    try:
        summary, config = run.load_summary(), queries.load_config(run)
        if summary["format"] != SUMMARY_FORMAT:
            return ListedRun(found.name, "unreadable", found.when, "made by another version of ssb")
        trained = summary["costs"].get("ssb", {}).get("traces")
        return ListedRun(
            name=found.name,
            state=found.state,
            when=found.when,
            detail=found.detail,
            evaluation=run.only_evaluates(),
            fields=configured(config, summary.get("adapter", {})),
            accuracy={
                name: {model: score["accuracy"] for model, score in benchmark["models"].items()}
                for name, benchmark in summary["benchmarks"].items()
            },
            traces=trained,
            seconds=summary.get("making", summary)["seconds"],
        )
    except (ConfigError, LookupError, AttributeError, *UNREADABLE):
        return ListedRun(found.name, found.state, found.when, found.detail)


def configured(config: RunConfig, adapter: Mapping[str, str]) -> dict[str, Any]:
    """A configuration by dotted field name; `adapter` is that of the user, if one was evaluated.

    The decoding in the section evaluate is the one that was used: a benchmark's own fields replace those of the
    section. Where benchmarks differ in it, all values are listed.
    """
    tree = config.model_dump(mode="json", exclude={*PLACES, "evaluate"})
    evaluated = _evaluated(config.evaluate)
    own = {"adapter": adapter["directory"]} if adapter else {}
    return {
        name: json.dumps(value) if isinstance(value, list) else value
        for name, value in (own | flatten(tree) | flatten(evaluated, "evaluate.")).items()
    }


def _evaluated(config: EvaluateConfig) -> dict[str, Any]:
    """The section evaluate, with the decoding that was used, and the other fields of each benchmark by its name."""
    benchmarks = config.limited_benchmarks()
    used = [{**config.decoding(b).recipe, "samples": config.samples_of(b), "limit": b.limit} for b in benchmarks]
    decoding = {name: list(dict.fromkeys(values[name] for values in used)) for name in used[0]}
    others = {b.name: b.model_dump(mode="json", exclude={*decoding, "name"}) for b in benchmarks}
    return {name: v[0] if len(v) == 1 else v for name, v in decoding.items()} | {"benchmarks": others}


def differing(runs: Iterable[ListedRun]) -> list[str]:
    """The fields in which finished runs differ. Evaluations count only for the fields that they use."""
    values: dict[str, set[str]] = {}
    for run in runs:
        for name, value in run.fields.items():
            if not run.evaluation or name.split(".")[0] in ("model", "adapter", "evaluate", "prompts"):
                values.setdefault(name, set()).add(repr(value))
    return [name for name, different in values.items() if len(different) > 1 or name == "adapter"]


def benchmark_names(runs: Iterable[ListedRun]) -> list[str]:
    """The benchmarks of all runs, each once."""
    return list(dict.fromkeys(name for run in runs for name in run.accuracy))


def as_json(runs: Sequence[ListedRun]) -> list[dict[str, Any]]:
    """The runs for programs, each with the fields in which runs differ, all accuracies and its times."""
    names = differing(runs)
    return [
        {
            "name": run.name,
            "state": run.state,
            "since": datetime.fromtimestamp(run.when).astimezone().isoformat(timespec="seconds"),
            "detail": run.detail,
            "evaluation": run.evaluation,
            "differs": {name: run.fields[name] for name in names if name in run.fields},
            "accuracy": run.accuracy,
            "traces": run.traces,
            "seconds": run.seconds,
        }
        for run in runs
    ]
