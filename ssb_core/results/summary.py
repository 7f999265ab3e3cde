"""The content of summary.json: a run's results in numbers, read from manifests and shards, never from memory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
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
from ..store import Store, digest
from .costs import Making, cost, making_seconds
from .rounds import rounds
from .signal_metadata import load_signal_metadata


def summarise(
    name: str, preset: str, store: Store, specs: Sequence[Spec], ran: Sequence[StageRun], seconds: float
) -> dict[str, Any]:
    """The content of summary.json for a run of the given requests. Stages that it did not reach are empty.

    `ran` has the entry of each request, and `seconds` is the duration of the run. The keys are stable: programs read
    them, `read_summary` among them.
    """
    own = [s for s in specs if s.round == 1 and not (isinstance(s, teach.Spec) and s.labels)]  # not a baseline's
    by_stage = {s: [r for r in ran if r.stage == s] for s in STAGES}
    reached = {stage: runs for stage, runs in by_stage.items() if runs}
    stages = {stage: _stage(runs) | _making(store, stage, specs) for stage, runs in reached.items()}
    return {
        "format": SUMMARY_FORMAT,
        "run": name,
        "preset": preset,
        "fingerprints": {stage: _fingerprint(runs) for stage, runs in reached.items()},
        "stages": stages,
        "yield": _yield(store, own),
        "signal": _signal(store, [s for s in own if isinstance(s, teach.Spec)]),
        "training": _training(store, [s for s in own if type(s) is distill.Spec]),
        "rounds": [asdict(r) for r in rounds(store, specs)],
        "costs": _costs(store, [s for s in own if isinstance(s, (distill.Spec, grpo.Spec))]),
        "benchmarks": benchmark_results(store, specs),
        "engines": _engines(store, specs),
        "seconds": round(seconds, 2),
        "making": asdict(_sum_up(stages.values())),
        "versions": versions(),
        **_adapter(specs),
    }


def _sum_up(stages: Iterable[dict[str, Any]]) -> Making:
    seconds, tokens = ([stage.get(name, 0) for stage in stages] for name in ("making_seconds", "tokens"))
    return Making(round(sum(seconds), 2), sum(tokens))


def _adapter(specs: Sequence[Spec]) -> dict[str, Any]:
    """The user's own adapter, if that was evaluated."""
    used = next((s.adapter for s in specs if isinstance(s, evaluate.Spec) and s.adapter), None)
    return {"adapter": {"directory": used.directory, "identity": used.identity}} if used else {}


def _fingerprint(ran: Sequence[StageRun]) -> str:
    """The fingerprint of the stage's only request, or a digest of those of all its requests."""
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


def _making(store: Store, stage: str, specs: Sequence[Spec]) -> dict[str, Any]:
    """The time a stage took, and its completion tokens if it samples, whether this run made it or earlier ones."""
    own = [s for s in specs if s.stage == stage]
    stats = [required(s, store).stats for s in own]
    counts = [n for s in stats if (n := s.get("written_tokens", s.get("tokens"))) is not None]
    return {"making_seconds": making_seconds(own, store)} | ({"tokens": sum(counts)} if counts else {})


def _yield(store: Store, specs: Sequence[Spec]) -> dict[str, int]:
    """Outcomes of the sampled problems, and in `bad_gold` how many of the whole set are unverifiable."""
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


def _signal(store: Store, taught: Sequence[teach.Spec]) -> dict[str, Any]:
    if not taught:
        return {}
    from ..signal.layout import bytes_per_token

    manifests = [required(t, store) for t in taught]
    shards = (shard for m in manifests for shard in load_signal_metadata(store, m))
    first = next(shards)
    return {
        "codec": first["codec"],
        "tokens": sum(m.stats["tokens"] for m in manifests),
        "bytes_per_token": bytes_per_token(first),
        "max_kl_error": max(shard["max_kl_error"] for shard in chain([first], shards)),
    }


def _engines(store: Store, specs: Sequence[Spec]) -> dict[str, list[str]]:
    """The engines that sampled the rows of each stage: several, if a run was continued with another engine."""
    engines: dict[str, set[str]] = {}
    for spec in (s.solutions if isinstance(s, teach.Spec) else s for s in specs):
        engines.setdefault(spec.stage, set()).update(required(spec, store).stats.get("engines", ()))
    return {stage: sorted(names) for stage, names in engines.items() if names}


def _training(store: Store, students: Sequence[distill.Spec]) -> dict[str, Any]:
    if not students:
        return {}
    student = students[0]  # those of other seeds appear in the scores
    stats = required(student, store).stats
    speed = store.unlisted_file(student.recipe, f"{student.fingerprint}/speed.json")
    rate = _rate(speed) if speed.exists() else 0.0
    names = ("steps", "first_loss", "last_loss", "first_held_out_loss", "best_held_out_loss")
    return {name: stats[name] for name in names if name in stats} | {"tokens_per_second": round(rate, 1)}


def _rate(speed: Path) -> float:
    """Tokens per second, from the file that training writes; 0 if it is damaged."""
    try:
        measured = json.loads(speed.read_text())
        return float(measured["tokens"] / measured["seconds"])
    except (ValueError, KeyError, TypeError, ZeroDivisionError):
        return 0.0


def _costs(store: Store, students: Sequence[Student]) -> dict[str, Any]:
    """The cost of the first student of each method."""
    first = {s.method: s for s in reversed(students)}
    return {method: asdict(cost(student, store)) for method, student in reversed(first.items())}


def benchmark_results(store: Store, specs: Sequence[Spec]) -> dict[str, Any]:
    """The results of every benchmark evaluated so far, by name: the part `benchmarks` of summary.json."""
    by_benchmark: dict[str, list[evaluate.Spec]] = {}
    for spec in specs:
        if isinstance(spec, evaluate.Spec):
            by_benchmark.setdefault(spec.benchmark.name, []).append(spec)
    training = next((s.problems for s in specs if isinstance(s, rollouts.Spec)), None)
    return {
        name: _benchmark(store, evaluations) | benchmarks.describe(evaluations[0], training)
        for name, evaluations in by_benchmark.items()
    }


def _benchmark(store: Store, specs: Sequence[evaluate.Spec]) -> dict[str, Any]:
    """The score of every model, and the paired comparisons with the base and with SSB."""
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
            | {key: statistics.by_label(arrays[m]["correct"], values) for key, values in labels.items()}
            | {"vote_calibration": statistics.vote_calibration(arrays[m]["correct"], arrays[m]["votes"])}
            for m, s in scores.items()
        },
        "paired": {f"{a}-{b}": _paired(arrays[a], arrays[b]) for a, b in _comparisons(list(arrays))},
    }


def _arrays(store: Store, specs: Sequence[evaluate.Spec]) -> dict[str, dict[str, Any]]:
    """Graded samples of every model as (seeds, problems, samples). Requests of one model name differ in their seed."""
    by_model: dict[str, list[dict[str, Any]]] = {}
    for spec in specs:
        by_model.setdefault(spec.model_name, []).append(evaluate.arrays(spec, store))
    return {
        model: {name: np.stack([seed[name] for seed in seeds]) for name in seeds[0]}
        for model, seeds in by_model.items()
    }


def _model(score: BenchmarkScore) -> dict[str, Any]:
    """A score without the fields of its benchmark, and without those about seeds if there is only one."""
    omitted = {"benchmark", "model", "n", "samples"} | ({"seeds", "seed_sd"} if len(score.seeds) == 1 else set())
    return {name: value for name, value in asdict(score).items() if name not in omitted}


def _comparisons(models: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of models: every model with the base, then SSB with every other."""
    others = [m for m in models if m != "base"]
    with_base = [(m, "base") for m in others if "base" in models]
    return with_base + [("ssb", m) for m in others if m != "ssb" and "ssb" in models]


def _paired(model: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """The difference in accuracy, and the same difference under plain string match."""
    by_value, literal = (asdict(statistics.paired(model[k], base[k])) for k in ("correct", "string_match"))
    return by_value | {"string_match": literal}
