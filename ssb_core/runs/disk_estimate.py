"""The disk space that a run may take, from its configuration: an upper bound, and its parts.

This is arithmetic on `Sizes`, the sizes of the model and the problem sets. Completions count with their token caps,
unless `Lengths` give usual lengths; `measured` reads those from a store in which the model has sampled before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Self

from ..config import RunConfig
from ..store import Manifest, Recipe, Store
from .pipeline import MARGIN, WAVE_STEP

# Bytes on disk. Measured after compression: a token (id and text) takes 2 to 4; a value of a captured vector takes 1.3
# to 1.6 in bfloat16 and float16, and 3.3 to 3.8 in float32. Training reads the vectors uncompressed.
TOKEN = 6
VALUE = {"bfloat16": 2.0, "float16": 2.0, "float32": 4.2}
KEPT = 8.4  # an id and a logit of codec `topk`
ROW = 96  # ids, seed, verdict
WIDE_ROW = 4096  # a row group of its own
SHARD = 8192  # footer and sidecar
ADAPTER_FILES = 16_384  # its configuration, its card and the training log
FLOAT32 = 4
STATES = 3  # the adapter and the two moments of AdamW
CHECKPOINTS = 3  # two are kept; the oldest is deleted only after the next one is written


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of the model and the problem sets, on which the size of the store depends.

    `lora_width` is the sum of inputs and outputs over the layers with an adapter; times the rank it is the number of
    parameters. `evaluated` counts benchmark problems, `answered` the samples of one model on them. `converted` is the
    size in bytes of the converted model, 0 if none is needed; `weights` that of a merged model.
    """

    problems: int
    evaluated: int
    answered: int
    prompt_bytes: int
    hidden_size: int
    vocabulary: int
    lora_width: int
    converted: int = 0
    weights: int = 0


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of one completion, by the stage that samples it."""

    rollouts: float
    teach: float
    evaluate: float

    @classmethod
    def caps(cls, config: RunConfig) -> Self:
        """The token caps of the configuration."""
        longest = max(config.evaluate.decoding(b).max_new_tokens for b in config.evaluate.benchmarks)
        return cls(config.rollouts.max_new_tokens, config.teach.max_new_tokens, longest)


@dataclass(frozen=True, slots=True)
class StoreEstimate:
    """An upper bound in bytes for each part of the store. Checkpoints and training data are deleted after training."""

    rollouts: int
    solutions: int
    signal: int
    adapter: int
    checkpoints: int
    training: int
    samples: int
    model: int
    merged: int

    @property
    def peak(self) -> int:
        """All parts together, as if the disk held all of them at the same time."""
        return sum(self.parts.values())

    @property
    def parts(self) -> dict[str, int]:
        """Name and bytes of every part that is not empty."""
        return {name: size for name, size in asdict(self).items() if size}


def estimate(config: RunConfig, sizes: Sizes, lengths: Lengths | None = None) -> StoreEstimate:
    """An upper bound of the store's size, if completions have the given `lengths`; by default their caps.

    Every problem counts as sampled. The sizes of waves bound the taught traces, on the assumption that a later wave
    yields no more than those before it.
    """
    tokens = lengths or Lengths.caps(config)
    traces = min(_whole_waves(MARGIN * config.target_traces + WAVE_STEP), _whole_waves(sizes.problems), sizes.problems)
    hinted = hinted_row(sizes.prompt_bytes, tokens)
    vectors = tokens.teach * signal_bytes(config, sizes.hidden_size, sizes.vocabulary)
    adapter = adapter_bytes(config, sizes.lora_width)
    completions = config.rollouts.samples * sizes.problems
    shards, graded = _shards(config, sizes.problems), _shards(config, sizes.evaluated, len(config.evaluate.benchmarks))
    students = config.seeds * (1 + len(config.baselines)) + config.rounds - 1
    teachers = config.rounds + ("ssb-no-wrong" in config.baselines)
    rollout = sampled_row(tokens.rollouts, sizes.prompt_bytes) + ROW  # and its verdict
    rollouts = 2 * shards + _rows(completions, rollout)
    return StoreEstimate(
        rollouts=config.rounds * rollouts,
        solutions=teachers * (shards + _rows(traces, hinted)),
        signal=teachers * (shards + _rows(traces, hinted + vectors + WIDE_ROW)),
        adapter=students * (adapter + ADAPTER_FILES),
        checkpoints=CHECKPOINTS * (STATES * adapter + ADAPTER_FILES),
        training=_rows(min(traces, config.target_traces), hinted + vectors + WIDE_ROW),
        samples=(1 + students) * (graded + _rows(sizes.answered, sampled_row(tokens.evaluate))),  # and by the base
        model=sizes.converted,
        merged=(config.rounds - 1) * sizes.weights,
    )


def sampled_row(tokens: float, prompt_bytes: int = 0) -> float:
    """Bytes of one completion of this many tokens, with its prompt."""
    return prompt_bytes + TOKEN * tokens + ROW


def hinted_row(prompt_bytes: int, tokens: Lengths) -> float:
    """Bytes of one solution, with the prompts of student and teacher."""
    return 2 * prompt_bytes + TOKEN * (2 * tokens.rollouts + tokens.teach) + ROW


def adapter_bytes(config: RunConfig, lora_width: int) -> int:
    """Bytes of the weights of one adapter."""
    return FLOAT32 * config.distill.lora_rank * lora_width


def signal_bytes(config: RunConfig, hidden_size: int, vocabulary: int) -> float:
    """Bytes of one token's signal."""
    match config.teach.codec:
        case "hidden":
            return hidden_size * VALUE[config.model.dtype]
        case "topk":
            return config.teach.k * KEPT
        case "dense":
            return vocabulary * VALUE["float16"]


def measured(store: Store, identity: str, config: RunConfig) -> Lengths | None:
    """Mean lengths of this model's completions in the store, at most the caps; None if it has not sampled here yet.

    A stage for which it has not sampled counts with its cap.
    """
    caps = Lengths.caps(config)
    rolled = {r.hash: r for r in _recipes(store, "rollouts") if r.content.get("model", {}).get("identity") == identity}
    selected = {r.hash for r in _recipes(store, "select") if r.content.get("rollouts") in rolled}
    taught = [r for r in _recipes(store, "teach") if r.content.get("select") in selected]
    graded = [r for r in _recipes(store, "evaluate") if r.content.get("model", {}).get("identity") == identity]
    means = {
        "rollouts": _mean(store, list(rolled.values()), "tokens", "samples"),
        "teach": _mean(store, taught, "written_tokens", "rows"),
        "evaluate": _mean(store, graded, "tokens", "samples"),
    }
    if not any(means.values()):
        return None
    return Lengths(**{stage: min(mean or math.inf, getattr(caps, stage)) for stage, mean in means.items()})


def _whole_waves(problems: float) -> int:
    return WAVE_STEP * math.ceil(problems / WAVE_STEP)


def _shards(config: RunConfig, problems: int, parts: int = 1) -> int:
    """The overhead of shards in bytes. The last shard of each of `parts` sets, and of two waves, is a small one."""
    return SHARD * (problems // config.execution.shard_size + parts + 1)


def _rows(n: int, each: float) -> int:
    return math.ceil(n * each)


def _recipes(store: Store, stage: str) -> Iterator[Recipe]:
    return (Recipe(stage, content) for content in store.recipes(stage))


def _mean(store: Store, recipes: list[Recipe], tokens: str, rows: str) -> float | None:
    """Tokens per row over all finished requests of these recipes."""
    manifests = [m for r in recipes for m in _manifests(store, r)]
    total = sum(_figure(m, rows) for m in manifests)
    return sum(_figure(m, tokens) for m in manifests) / total if total else None


def _manifests(store: Store, recipe: Recipe) -> Iterator[Manifest]:
    for path in store.layout.recipe(recipe.stage, recipe.hash).manifests.glob("*.json"):
        if manifest := store.manifest(recipe, path.stem):
            yield manifest


def _figure(manifest: Manifest, name: str) -> int:
    value: Any = manifest.rows if name == "rows" else manifest.stats.get(name, 0)
    return int(value)
