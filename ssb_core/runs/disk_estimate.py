"""How much disk a run may take, from its configuration: an upper bound, and what it consists of.

Pure arithmetic on `Sizes`, which name what counts of the model and the problem sets. Completions are as long as their
token caps allow, unless `Lengths` say what is usual; `measured` reads those from a store that has seen the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Self

from ..config import RunConfig
from ..store import Manifest, Recipe, Store
from .pipeline import MARGIN, WAVE_STEP

# Bytes on disk. Measured: a token (its id and its text) takes 2 to 4 after compression; of a captured vector, bfloat16
# and float16 take 1.3 to 1.6 a value, float32 3.3 to 3.8. In memory, as training reads it, it takes its own bytes.
TOKEN = 6
VALUE = {"bfloat16": 2.0, "float16": 2.0, "float32": 4.2}
KEPT = 8.4  # an id and a logarithm, of codec `topk`
ROW = 96  # ids, seed, verdict
WIDE_ROW = 4096  # a row group of its own
SHARD = 8192  # footer and sidecar
ADAPTER_FILES = 16_384  # its configuration, its card and the training log
FLOAT32 = 4
STATES = 3  # the adapter, and AdamW's two moments of it
CHECKPOINTS = 3  # two are kept; the oldest goes only when the next one is written


@dataclass(frozen=True, slots=True)
class Sizes:
    """What of the model and the problem sets decides how large a store gets.

    `lora_width` sums inputs and outputs of the layers that get an adapter, so its parameters are that times the rank.
    `evaluated` counts benchmark problems, `answered` one model's samples on them. `converted` is what the model itself
    takes in the store, if it has to be converted, `weights` what a merged one does.
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
        """As long as the configuration allows."""
        longest = max(config.evaluate.decoding(b).max_new_tokens for b in config.evaluate.benchmarks)
        return cls(config.rollouts.max_new_tokens, config.teach.max_new_tokens, longest)


@dataclass(frozen=True, slots=True)
class StoreEstimate:
    """Bytes at most, by what takes them. Checkpoints and training data go when the student is trained."""

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
        """All at once, as far as the disk has to hold it at some time."""
        return sum(self.parts.values())

    @property
    def parts(self) -> dict[str, int]:
        """Name and bytes of every part that takes any."""
        return {name: size for name, size in asdict(self).items() if size}


def estimate(config: RunConfig, sizes: Sizes, lengths: Lengths | None = None) -> StoreEstimate:
    """The store's size at most, if completions are as long as `lengths` say; by default as their caps allow.

    Every problem is counted as sampled. Taught traces are bounded by how waves are sized, on the assumption that a
    later wave yields no more than those before it.
    """
    tokens = lengths or Lengths.caps(config)
    traces = min(_whole_waves(MARGIN * config.target_traces + WAVE_STEP), _whole_waves(sizes.problems), sizes.problems)
    hinted = 2 * sizes.prompt_bytes + TOKEN * (2 * tokens.rollouts + tokens.teach) + ROW
    vectors = tokens.teach * _signal(config, sizes)
    adapter = FLOAT32 * config.distill.lora_rank * sizes.lora_width
    asked = config.rollouts.samples * sizes.problems
    shards, graded = _shards(config, sizes.problems), _shards(config, sizes.evaluated, len(config.evaluate.benchmarks))
    students = config.seeds * (1 + len(config.baselines)) + config.rounds - 1
    teachers = config.rounds + ("ssb-no-wrong" in config.baselines)
    rolled = 2 * shards + _rows(asked, sizes.prompt_bytes + TOKEN * tokens.rollouts + 2 * ROW)  # and verdicts
    return StoreEstimate(
        rollouts=config.rounds * rolled,
        solutions=teachers * (shards + _rows(traces, hinted)),
        signal=teachers * (shards + _rows(traces, hinted + vectors + WIDE_ROW)),
        adapter=students * (adapter + ADAPTER_FILES),
        checkpoints=CHECKPOINTS * (STATES * adapter + ADAPTER_FILES),
        training=_rows(min(traces, config.target_traces), hinted + vectors + WIDE_ROW),
        samples=(1 + students) * (graded + _rows(sizes.answered, TOKEN * tokens.evaluate + ROW)),  # and by the base
        model=sizes.converted,
        merged=(config.rounds - 1) * sizes.weights,
    )


def _signal(config: RunConfig, sizes: Sizes) -> float:
    """Bytes of one token's signal."""
    match config.teach.codec:
        case "hidden":
            return sizes.hidden_size * VALUE[config.model.dtype]
        case "topk":
            return config.teach.k * KEPT
        case "dense":
            return sizes.vocabulary * VALUE["float16"]


def measured(store: Store, identity: str, config: RunConfig) -> Lengths | None:
    """Mean tokens of completions by this model in the store, at most the caps; None if it has sampled nothing here.

    A stage that it has not sampled for counts with its cap.
    """
    caps = Lengths.caps(config)
    rolled = {r.hash: r for r in _recipes(store, "rollouts") if r.content.get("model", {}).get("identity") == identity}
    selected = {r.hash for r in _recipes(store, "select") if r.content.get("rollouts") in rolled}
    taught = [r for r in _recipes(store, "teach") if r.content.get("select") in selected]
    graded = [r for r in _recipes(store, "evaluate") if r.content.get("model", {}).get("identity") == identity]
    found = {
        "rollouts": _mean(store, list(rolled.values()), "tokens", "samples"),
        "teach": _mean(store, taught, "written_tokens", "rows"),
        "evaluate": _mean(store, graded, "tokens", "samples"),
    }
    if not any(found.values()):
        return None
    return Lengths(**{stage: min(mean or math.inf, getattr(caps, stage)) for stage, mean in found.items()})


def _whole_waves(problems: float) -> int:
    return WAVE_STEP * math.ceil(problems / WAVE_STEP)


def _shards(config: RunConfig, problems: int, parts: int = 1) -> int:
    """Bytes that `problems` take by being in shards; the last of each of `parts` sets, and of two waves, is small."""
    return SHARD * (problems // config.execution.shard_size + parts + 1)


def _rows(n: int, each: float) -> int:
    return math.ceil(n * each)


def _recipes(store: Store, stage: str) -> Iterator[Recipe]:
    return (Recipe(stage, content) for content in store.recipes(stage))


def _mean(store: Store, recipes: list[Recipe], tokens: str, rows: str) -> float | None:
    """Tokens a row over every finished request of these recipes."""
    manifests = [m for r in recipes for m in _manifests(store, r)]
    total = sum(_figure(m, rows) for m in manifests)
    return sum(_figure(m, tokens) for m in manifests) / total if total else None


def _manifests(store: Store, recipe: Recipe) -> Iterator[Manifest]:
    for path in store.layout.recipe(recipe.stage, recipe.hash).manifests.glob("*.json"):
        if manifest := store.manifest(recipe, path.stem):
            yield manifest


def _figure(manifest: Manifest, name: str) -> int:
    found: Any = manifest.rows if name == "rows" else manifest.stats.get(name, 0)
    return int(found)
