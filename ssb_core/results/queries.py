"""What a finished run found, read from its files and manifests: what stories, charts and the report stand on.

Nothing here needs the model or a network (but for problem sets that are only on the hub).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
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
    """The samples of one model on one benchmark."""

    benchmark: str
    model: str
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Step:
    """How many problems one step of the pipeline kept, and how many it dropped for which reason, most first."""

    name: str
    kept: int
    dropped: dict[str, int]


@dataclass(frozen=True, slots=True)
class Wave:
    """The rollouts of one wave: `lengths` are in tokens, mean and 95th percentile; `rate` is in tokens a second.

    The rate counts loading of the model; it is None where this run did not sample all of it.
    """

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
        return self.tokens / self.seconds if self.status == "ran" and self.seconds else None


def configuration(run: Run) -> RunConfig:
    """The configuration the run was started with."""
    return presets.load_config(file=run.directory / "config.yaml")


def evaluations(run: Run) -> list[Evaluation]:
    """What was evaluated, in the order of the configured benchmarks, each model as it came, its first seed only."""
    done = [s for s in run.load_stages() if s.stage == "evaluate"]
    every = [Evaluation(s.benchmark, s.model, m) for s, m in zip(done, run.manifests("evaluate"), strict=True)]
    found = list({(e.benchmark, e.model): e for e in reversed(every)}.values())[::-1]
    order = [b.name for b in configuration(run).evaluate.benchmarks]
    return sorted(found, key=lambda e: order.index(e.benchmark))


def waves(run: Run) -> list[Wave]:
    """The rollouts of every wave of the first round."""
    ran = [s for s in run.load_stages() if s.stage == "rollouts" and s.round == 1]
    return [_wave(run, m, s.status, s.seconds) for m, s in zip(run.manifests("rollouts"), ran, strict=True)]


def _wave(run: Run, manifest: Manifest, status: str, seconds: float) -> Wave:
    import numpy as np

    stats, tokens = manifest.stats, lengths(run, manifest)
    sampled = tokens[tokens > 0]  # a prompt that is too long for the model has rows without any
    return Wave(
        problems=sum(len(run.store.sidecar(manifest, e).problem_ids) for e in manifest.files),
        samples=stats["samples"],
        tokens=stats["tokens"],
        lengths=(float(sampled.mean()), float(np.quantile(sampled, 0.95))) if len(sampled) else (0.0, 0.0),
        truncated=stats["truncated"],
        engines=tuple(stats.get("engines", ())),
        status=status,
        seconds=seconds,
    )


def lengths(run: Run, manifest: Manifest) -> NDArray[np.int64]:
    """Tokens of every completion of a request."""
    import numpy as np
    import pyarrow.compute as pc

    shards = run.store.tables(manifest, ["completion_ids"])
    return np.concatenate([np.asarray(pc.list_value_length(t["completion_ids"]), np.int64) for t in shards])


def funnel(run: Run) -> list[Step]:
    """From the problems sampled to the traces trained on, as far as the run went."""
    selected, taught = (_counts(run.manifests(stage)) for stage in ("select", "teach"))
    trained = sum(m.stats["traces"] for m in run.manifests("distill")[:1])
    steps = [Step("sampled", sum(selected.values()), {})] if selected else []
    for name, counts in (("mixed", selected), ("taught", taught)):
        if counts:
            kept = counts.pop(name, 0)
            steps.append(Step(name, kept, dict(counts.most_common())))
    if trained:
        held_out = configuration(run).distill.held_out
        left = {"held_out": held_out, "above_target": steps[-1].kept - trained - held_out}
        steps.append(Step("trained on", trained, {reason: n for reason, n in left.items() if n}))
    return steps


def _counts(manifests: list[Manifest]) -> Counter[str]:
    """Problems by outcome: what became of them is among the stats of a manifest."""
    outcomes = {"mixed", "taught", *get_args(Drop)}
    total: Counter[str] = Counter()
    for manifest in manifests:
        total.update({k: n for k, n in manifest.stats.items() if k in outcomes})
    return total


def training_log(run: Run) -> list[dict[str, Any]]:
    """One row for each optimiser step of the student: step, loss, grad_norm, learning_rate; empty without a student."""
    paths = [run.store.path(m, e) for m in run.manifests("distill")[:1] for e in m.files]
    return [row for path in paths if path.name == LOG for row in read_log(path.parent)]
