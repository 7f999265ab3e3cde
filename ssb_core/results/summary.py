"""summary.json: a run's result in numbers, read from manifests and shards, never from memory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from .. import problems
from ..evaluation import benchmarks, statistics
from ..records import BenchmarkScore
from ..runs import SUMMARY_FORMAT, StageRun, versions
from ..stages import STAGES, Spec, distill, evaluate, required, rollouts, teach
from ..stages.baselines import Student, grpo
from ..store import Manifest, Store, digest
from .costs import cost
from .rounds import rounds


def summarise(
    name: str, preset: str, store: Store, specs: Sequence[Spec], ran: Sequence[StageRun], seconds: float
) -> dict[str, Any]:
    """The summary of a run that went through the given requests; what it did not reach is empty."""
    own = [s for s in specs if s.round == 1 and not (isinstance(s, teach.Spec) and s.labels)]  # not a baseline's
    by_stage = {s: [r for r in ran if r.stage == s] for s in STAGES}
    reached = {stage: runs for stage, runs in by_stage.items() if runs}
    return {
        "format": SUMMARY_FORMAT,
        "run": name,
        "preset": preset,
        "fingerprints": {stage: _fingerprint(runs) for stage, runs in reached.items()},
        "stages": {stage: _stage(runs) | _tokens(store, stage, specs) for stage, runs in reached.items()},
        "yield": _yield(store, own),
        "signal": _signal(store, [s for s in own if isinstance(s, teach.Spec)]),
        "training": _training(store, [s for s in own if type(s) is distill.Spec]),
        "rounds": [asdict(r) for r in rounds(store, specs)],
        "costs": _costs(store, [s for s in own if isinstance(s, (distill.Spec, grpo.Spec))]),
        "benchmarks": results(store, specs),
        "engines": _engines(store, specs),
        "seconds": round(seconds, 2),
        "versions": versions(),
    }


def _fingerprint(ran: Sequence[StageRun]) -> str:
    """The request's fingerprint, or one for all requests of the stage."""
    return ran[0].fingerprint if len(ran) == 1 else digest([r.fingerprint for r in ran])


def _stage(ran: Sequence[StageRun]) -> dict[str, Any]:
    statuses = {r.status for r in ran}
    return {
        "status": statuses.pop() if len(statuses) == 1 else "resumed",
        "seconds": round(sum(r.seconds for r in ran), 2),
        "shards": sum(r.made + r.reused for r in ran),
        "shards_reused": sum(r.reused for r in ran),
        "rows": sum(r.rows for r in ran),
    }


def _tokens(store: Store, stage: str, specs: Sequence[Spec]) -> dict[str, int]:
    """Completion tokens that a stage sampled, now or before, if it samples."""
    stats = [required(s, store).stats for s in specs if s.stage == stage]
    found = [n for f in stats if (n := f.get("written_tokens", f.get("tokens"))) is not None]
    return {"tokens": sum(found)} if found else {}


def _yield(store: Store, specs: Sequence[Spec]) -> dict[str, int]:
    """What became of the problems asked; `bad_gold` counts those of the whole set that could not be."""
    total: Counter[str] = Counter()
    for spec in specs:
        if isinstance(spec, rollouts.Spec):
            total["problems"] += spec.stop - spec.start
            total["bad_gold"] = len(problems.unverifiable(spec.problems))  # the same set in every wave
        stats = required(spec, store).stats
        total.update({k: stats[k] for k in _COUNTED.get(spec.stage, ()) if k in stats})
    names = (
        "problems",
        "all_correct",
        "all_wrong",
        "mixed",
        "taught",
        "unparsed",
        "unverified",
        "too_long",
        "truncated",
    )
    return {name: total[name] for name in (*names, "bad_gold")}


_COUNTED = {
    "rollouts": ("truncated",),
    "select": ("all_correct", "all_wrong", "mixed", "unparsed", "unverified", "too_long"),
    "teach": ("taught",),
}


def signal_origins(store: Store, manifest: Manifest) -> Iterator[dict[str, Any]]:
    """What each shard of a teach request says of its signal: codec, sizes, head, certificate."""
    import pyarrow.parquet as pq

    from ..signal.layout import METADATA

    for entry in manifest.files:
        yield json.loads(pq.read_schema(store.path(manifest, entry)).metadata[METADATA.encode()])


def _signal(store: Store, taught: Sequence[teach.Spec]) -> dict[str, Any]:
    if not taught:
        return {}
    from ..signal.layout import bytes_per_token

    manifests = [required(t, store) for t in taught]
    origins = (o for m in manifests for o in signal_origins(store, m))
    first = next(origins)
    return {
        "codec": first["codec"],
        "tokens": sum(m.stats["tokens"] for m in manifests),
        "bytes_per_token": bytes_per_token(first),
        "max_kl_error": max(o["max_kl_error"] for o in chain([first], origins)),
    }


def _engines(store: Store, specs: Sequence[Spec]) -> dict[str, list[str]]:
    """What sampled the rows of each stage; several, if a run that one began went on with another."""
    found: dict[str, set[str]] = {}
    for spec in (s.solutions if isinstance(s, teach.Spec) else s for s in specs):
        found.setdefault(spec.stage, set()).update(required(spec, store).stats.get("engines", ()))
    return {stage: sorted(names) for stage, names in found.items() if names}


def _training(store: Store, students: Sequence[distill.Spec]) -> dict[str, Any]:
    if not students:
        return {}
    student = students[0]  # those of further seeds are in the scores
    stats = required(student, store).stats
    speed = store.unlisted_file(student.recipe, f"{student.fingerprint}/speed.json")
    rate = _rate(speed) if speed.exists() else 0.0
    told = ("steps", "first_loss", "last_loss", "first_held_out_loss", "best_held_out_loss")
    return {name: stats[name] for name in told if name in stats} | {"tokens_per_second": round(rate, 1)}


def _rate(speed: Path) -> float:
    """Tokens a second by the note that a training left; 0 if it is damaged."""
    try:
        noted = json.loads(speed.read_text())
        return float(noted["tokens"] / noted["seconds"])
    except (ValueError, KeyError, TypeError, ZeroDivisionError):
        return 0.0


def _costs(store: Store, students: Sequence[Student]) -> dict[str, Any]:
    """What the first student of each method took."""
    first = {s.method: s for s in reversed(students)}
    return {method: asdict(cost(student, store)) for method, student in reversed(first.items())}


def results(store: Store, specs: Sequence[Spec]) -> dict[str, Any]:
    """The scores of every benchmark that was evaluated so far."""
    by_benchmark: dict[str, list[evaluate.Spec]] = {}
    for spec in specs:
        if isinstance(spec, evaluate.Spec):
            by_benchmark.setdefault(spec.benchmark.name, []).append(spec)
    trained = next((s.problems for s in specs if isinstance(s, rollouts.Spec)), None)
    return {
        name: _benchmark(store, evaluated) | benchmarks.describe(evaluated[0], trained)
        for name, evaluated in by_benchmark.items()
    }


def _benchmark(store: Store, specs: Sequence[evaluate.Spec]) -> dict[str, Any]:
    """Every model's score, and the comparisons with the base and with SSB."""
    benchmark, problem_set = specs[0].benchmark, specs[0].load_problem_set()
    arrays = _arrays(store, specs)
    scores = {m: statistics.score(benchmark.name, m, **a) for m, a in arrays.items()}
    first = next(iter(scores.values()))
    labels = {f"by_{label}": [getattr(p, label) for p in problem_set] for label in ("level", "subject")}
    return {
        "n": first.n,
        "samples": first.samples,
        "bad_gold": len(problems.unverifiable(benchmark)),
        "models": {
            m: _model(s)
            | {by: statistics.by_label(arrays[m]["correct"], of) for by, of in labels.items()}
            | {"vote_calibration": statistics.vote_calibration(arrays[m]["correct"], arrays[m]["votes"])}
            for m, s in scores.items()
        },
        "paired": {f"{a}-{b}": _paired(arrays[a], arrays[b]) for a, b in _comparisons(list(arrays))},
    }


def _arrays(store: Store, specs: Sequence[evaluate.Spec]) -> dict[str, dict[str, Any]]:
    """Graded samples of every model as (seeds, problems, samples): requests of one name are trainings of one method."""
    by_model: dict[str, list[dict[str, Any]]] = {}
    for spec in specs:
        by_model.setdefault(spec.model_name, []).append(evaluate.arrays(spec, store))
    return {model: {name: np.stack([a[name] for a in of]) for name in of[0]} for model, of in by_model.items()}


def _model(score: BenchmarkScore) -> dict[str, Any]:
    """A score without what the benchmark says already; accuracies by seed only where there are several seeds."""
    told = asdict(score)
    unsaid = {"benchmark", "model", "n", "samples"} | ({"seeds", "seed_sd"} if len(score.seeds) == 1 else set())
    return {name: value for name, value in told.items() if name not in unsaid}


def _comparisons(models: Sequence[str]) -> list[tuple[str, str]]:
    """Every model with the base, then SSB with every other."""
    others = [m for m in models if m != "base"]
    with_base = [(m, "base") for m in others if "base" in models]
    return with_base + [("ssb", m) for m in others if m != "ssb" and "ssb" in models]


def _paired(model: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """The difference in accuracy, and under plain string match beside it."""
    ours, literal = (asdict(statistics.paired(model[how], base[how])) for how in ("correct", "string_match"))
    return ours | {"string_match": literal}
