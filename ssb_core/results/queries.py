"""The files and manifests of a finished run, as the records that reports, charts and pages are made from.

Nothing here needs the model, and only problem sets that are on the hub need a network.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..config import RunConfig, presets
from ..records import Drop
from ..store import Manifest
from ..training.log import LOG, read_log

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..runs import Run


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The request that sampled one model on one benchmark."""

    benchmark: str
    model: str
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class FunnelStep:
    """The number of problems that one step kept, and the numbers that it dropped by reason, most frequent first."""

    name: str
    kept: int
    dropped: dict[str, int]


@dataclass(frozen=True, slots=True)
class WaveStats:
    """The rollouts of one wave. `lengths` are the mean and the 95th percentile of tokens per rollout."""

    problems: int
    samples: int
    tokens: int
    lengths: tuple[float, float]
    truncated: int
    engines: tuple[str, ...]
    status: str
    seconds: float

    @property
    def rate(self) -> float | None:
        """Tokens per second, loading of the model included; None if this run did not sample the whole wave."""
        return self.tokens / self.seconds if self.status == "ran" and self.seconds else None


def load_config(run: Run) -> RunConfig:
    """The configuration of a run. The file is read again only when it has changed: a report asks many times.

    Raises:
        ConfigError: config.yaml is missing or cannot be used.
    """
    path = run.path("config.yaml")
    stamp = path.stat().st_mtime_ns if path.exists() else 0
    return _load_config(path, stamp)


@lru_cache(maxsize=4)
def _load_config(path: Path, stamp: int) -> RunConfig:
    return presets.load_config(file=path)


def load_evaluations(run: Run) -> list[Evaluation]:
    """The evaluations of a run by benchmark as configured, then by model as they ran; only the first seed of each."""
    done = [s for s in run.load_stages() if s.stage == "evaluate"]
    every = [Evaluation(s.benchmark, s.model, m) for s, m in zip(done, run.manifests("evaluate"), strict=True)]
    first_seeds = list({(e.benchmark, e.model): e for e in reversed(every)}.values())[::-1]
    order = [b.name for b in load_config(run).evaluate.benchmarks]
    return sorted(first_seeds, key=lambda e: order.index(e.benchmark))


def load_wave_stats(run: Run) -> list[WaveStats]:
    """The rollouts of every wave of the first round."""
    ran = [s for s in run.load_stages() if s.stage == "rollouts" and s.round == 1]
    return [_wave_stats(run, m, s.status, s.seconds) for m, s in zip(run.manifests("rollouts"), ran, strict=True)]


def _wave_stats(run: Run, manifest: Manifest, status: str, seconds: float) -> WaveStats:
    import numpy as np

    facts, tokens = manifest.stats, load_lengths(run, manifest)
    sampled = tokens[tokens > 0]  # if a prompt is too long for the model, its rows have no tokens
    return WaveStats(
        problems=sum(len(run.store.sidecar(manifest, e).problem_ids) for e in manifest.files),
        samples=facts["samples"],
        tokens=facts["tokens"],
        lengths=(float(sampled.mean()), float(np.quantile(sampled, 0.95))) if len(sampled) else (0.0, 0.0),
        truncated=facts["truncated"],
        engines=tuple(facts.get("engines", ())),
        status=status,
        seconds=seconds,
    )


def load_lengths(run: Run, manifest: Manifest) -> NDArray[np.int64]:
    """The number of tokens of every completion of a request, in the order of its rows."""
    import numpy as np
    import pyarrow.compute as pc

    shards = run.store.tables(manifest, ["completion_ids"])
    return np.concatenate([np.asarray(pc.list_value_length(t["completion_ids"]), np.int64) for t in shards])


def load_funnel(run: Run) -> list[FunnelStep]:
    """The steps from sampled problems to the traces trained on, as far as the run went."""
    selected, taught = (_count_outcomes(run.manifests(stage)) for stage in ("select", "teach"))
    trained = sum(m.stats["traces"] for m in run.manifests("distill")[:1])
    steps = [FunnelStep("sampled", sum(selected.values()), {})] if selected else []
    for name, counts in (("mixed", selected), ("taught", taught)):
        if counts:
            kept = counts.pop(name, 0)
            steps.append(FunnelStep(name, kept, dict(counts.most_common())))
    if trained:
        held_out = load_config(run).distill.held_out
        dropped = {"held_out": held_out, "above_target": steps[-1].kept - trained - held_out}
        steps.append(FunnelStep("trained on", trained, {reason: n for reason, n in dropped.items() if n}))
    return steps


def load_yield(run: Run) -> Counter[str]:
    """The outcomes of the problems of the requests that are finished so far, by the names that summary.json has.

    Problems are counted when they are selected.
    """
    selected, total = run.manifests("select"), Counter[str]()
    total.update(_count_outcomes(selected))
    total["problems"] = total.total()
    for stage, name in (("rollouts", "truncated"), ("teach", "taught")):
        total[name] = sum(m.stats.get(name, 0) for m in run.manifests(stage))
    return total


def _count_outcomes(manifests: list[Manifest]) -> Counter[str]:
    """Problems by outcome. A manifest's statistics count outcomes among other things."""
    outcomes = {"mixed", "taught", *get_args(Drop)}
    total: Counter[str] = Counter()
    for manifest in manifests:
        total.update({k: n for k, n in manifest.stats.items() if k in outcomes})
    return total


def load_training_log(run: Run) -> list[dict[str, Any]]:
    """One row per optimiser step of the student (step, loss, grad_norm, learning_rate); empty without a student."""
    paths = [run.store.path(m, e) for m in run.manifests("distill")[:1] for e in m.files]
    return [row for path in paths if path.name == LOG for row in read_log(path.parent)]
