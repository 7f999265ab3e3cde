"""The teacher signal of a finished run in numbers: its size, its exactness, and the effect of the hint.

`load_storage` and `load_certificates` read only the metadata of shards. `measure` runs the base model over solutions
after bare questions. Nothing is written.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..progress import Progress
from ..records import TeacherTrace
from ..signal.annotate import annotate_token, decode
from ..signal.marks import AnnotatedSolution, TokenEffect
from ..store import FileEntry, Manifest
from .signal_metadata import load_signal_metadata

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from ..runs import Run
    from ..signal.hint_effect import HintEffect

Shard = tuple[Manifest, FileEntry]

SEED = 0  # draws the traces that are measured
CONTEXT = 24  # tokens shown before a token of interest
LARGE = 1.0  # nats of KL divergence


@dataclass(frozen=True, slots=True)
class Storage:
    """The size of the signal: `raw_bytes` and `stored_bytes` are its vectors before and after compression.

    `fields` describes the vectors of a token in words. `file_bytes` is the size of whole shards with prompts and
    solutions, dropped ones included. `logits_bytes` is the size of the logits of one token in float32.
    """

    codec: str
    fields: dict[str, str]
    shards: int
    traces: int
    tokens: int
    raw_bytes: int
    stored_bytes: int
    file_bytes: int
    logits_bytes: int

    @property
    def ratio(self) -> float:
        """The size of logits in float32, divided by that of the signal."""
        return self.logits_bytes * self.tokens / self.stored_bytes


@dataclass(frozen=True, slots=True)
class Certificates:
    """The certificates of all shards together, in nats. Only `valid` shards may be used for training."""

    shards: int
    valid: int
    tokens: int
    mean_kl_error: float
    max_kl_error: float
    max_logp_error: float


@dataclass(frozen=True, slots=True)
class Spread:
    """The distribution of a value over tokens."""

    mean: float
    median: float
    p90: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Spread:
        """The distribution of an (N,) array, one value per token."""
        import numpy as np

        return cls(float(values.mean()), *(float(q) for q in np.percentile(values, (50, 90, 99, 100))))


@dataclass(frozen=True, slots=True)
class TokenInContext:
    """A token where the hint changed much: its `index` in the solution, some text before it, and both distributions."""

    problem_id: str
    index: int
    before: str
    mark: TokenEffect


@dataclass(frozen=True, slots=True)
class EffectAtTemperature:
    """The teacher's entropy and KL(teacher || bare student) at one temperature, in nats per token."""

    temperature: float
    entropy: Spread
    kl: Spread


@dataclass(frozen=True, slots=True)
class HintEffectStats:
    """The effect of the hint, measured on `tokens` tokens in `traces` of all `of` traces.

    The first element of `at` is the effect at temperature 1. There is a second one if distillation uses another
    temperature. `large` is the share of tokens whose KL at temperature 1 is above `LARGE`.
    """

    traces: int
    of: int
    tokens: int
    large: float
    at: tuple[EffectAtTemperature, ...]
    moments: tuple[TokenInContext, ...]


def load_storage(run: Run) -> Storage:
    """The size of a run's signal on disk.

    Raises:
        ConfigError: the run has no taught trace.
        StoreError: the store no longer has its shards.
    """
    import pyarrow.parquet as pq

    from ..signal import layout

    manifests = load_taught(run)
    metadata = next(load_signal_metadata(run.store, manifests[0]))
    shards = _shards(manifests)
    tokens = sum(m.stats["tokens"] for m in manifests)
    return Storage(
        codec=metadata["codec"],
        fields={name: f"{f.width} {f.dtype}" for name, f in layout.fields(metadata).items()},
        shards=len(shards),
        traces=sum(m.stats["taught"] for m in manifests),
        tokens=tokens,
        raw_bytes=tokens * layout.bytes_per_token(metadata),
        stored_bytes=sum(_signal_bytes(pq.read_metadata(run.store.path(*s))) for s in shards),
        file_bytes=sum(file.bytes for _, file in shards),
        logits_bytes=4 * metadata["vocabulary"],
    )


def _signal_bytes(file: Any) -> int:
    """Compressed bytes of the signal's columns in one Parquet file, from the file's metadata."""
    from ..signal.layout import COLUMN

    groups = (file.row_group(i) for i in range(file.num_row_groups))
    columns = (group.column(i) for group in groups for i in range(group.num_columns))
    return sum(c.total_compressed_size for c in columns if c.path_in_schema.split(".")[0] == COLUMN)


def load_certificates(run: Run) -> Certificates:
    """The certificates of a run's signal. The mean error weights each shard by its tokens.

    Raises:
        ConfigError: the run has no taught trace.
        StoreError: the store no longer has its shards.
    """
    from ..signal.compatibility import MAX_MEAN_KL

    shards = [s for manifest in load_taught(run) for s in load_signal_metadata(run.store, manifest)]
    tokens = sum(s["tokens"] for s in shards)
    return Certificates(
        shards=len(shards),
        valid=sum(0 <= s["mean_kl_error"] <= MAX_MEAN_KL for s in shards),
        tokens=tokens,
        mean_kl_error=sum(s["mean_kl_error"] * s["tokens"] for s in shards) / tokens,
        max_kl_error=max(s["max_kl_error"] for s in shards),
        max_logp_error=max(s["max_logp_error"] for s in shards),
    )


def load_taught(run: Run) -> list[Manifest]:
    """The manifests of every wave that taught at least one trace.

    Raises:
        ConfigError: the run ended before the teach stage, or taught nothing.
        StoreError: the store no longer has the signal.
    """
    manifests = [m for m in run.manifests("teach") if m.stats.get("taught")]
    if manifests:
        return manifests
    stages = run.load_summary()["stages"]
    if run.only_evaluates():
        raise ConfigError(f"run {run.name} is an evaluation, which captures no signal\n  remedy: name another run")
    if "teach" in stages:
        raise ConfigError(
            f"run {run.name} taught no trace, so there is no signal\n  remedy: `ssb report {run.name}` counts why "
            "solutions were dropped; sample more problems (problems.limit)"
        )
    raise ConfigError(
        f"run {run.name} ended after {list(stages)[-1]}, before any signal was captured\n  remedy: finish it with "
        f"`ssb run --config {run.directory / 'config.yaml'} --name {run.name}`"
    )


def load_annotated_solution(run: Run) -> AnnotatedSolution | None:
    """The solution that shows the hint's effect: the one with the median mean KL among those in the shards' metadata.

    Returns None if no shard has one.

    Raises:
        StoreError: the store no longer has the run's shards.
    """
    import pyarrow.parquet as pq

    schemas = [pq.read_schema(run.store.path(*shard)) for shard in _shards(run.manifests("teach"))]
    solutions = [m for s in schemas if (m := AnnotatedSolution.load(s.metadata))]
    return sorted(solutions, key=lambda m: m.mean_kl)[len(solutions) // 2] if solutions else None


def _shards(manifests: Sequence[Manifest]) -> list[Shard]:
    return [(manifest, file) for manifest in manifests for file in manifest.files]


def measure(run: Run, limit: int, top: int, progress: Progress) -> HintEffectStats:
    """Measure the hint's effect on a seeded draw of `limit` traces (0 means all), and find the `top` largest tokens.

    Raises:
        ConfigError: the run has no taught trace, or its model has changed since.
        StoreError: a shard is damaged, belongs to another model, or has no valid certificate.
    """
    from .. import models
    from ..signal.compatibility import refuse_unfit
    from .provenance import Provenance

    manifests, provenance = load_taught(run), Provenance.load(run)
    execution, temperature = provenance.config.execution, provenance.config.distill.temperature
    drawn, of = _draw(run, manifests, limit)
    model, tokenizer = models.load_model(provenance.model, execution.device), models.load_tokenizer(provenance.model)
    refuse_unfit((s for m in manifests for s in load_signal_metadata(run.store, m)), model, tokenizer)
    progress.begin("hint effect", sum(len(rows) for _, rows in drawn), "traces")
    effects: list[TraceEffect] = []
    for shard, rows in drawn:
        for effect in _measure_shard(run, shard, rows, model, temperature, execution.capture_tokens):
            effects.append(effect)
            progress.advance()
    progress.end()
    return _summarise(effects, of, temperature, top, tokenizer)


def _draw(run: Run, manifests: Sequence[Manifest], limit: int) -> tuple[list[tuple[Shard, list[int]]], int]:
    """The shards with the rows drawn from each, in order, and the number of traces to draw from."""
    shards = _shards(manifests)
    dropped = [run.store.table(*shard, ["dropped"])["dropped"].to_pylist() for shard in shards]
    every = [(s, row) for s, reasons in enumerate(dropped) for row, reason in enumerate(reasons) if reason is None]
    drawn = sorted(random.Random(SEED).sample(every, limit)) if 0 < limit < len(every) else every
    return [(shards[s], [row for _, row in rows]) for s, rows in groupby(drawn, itemgetter(0))], len(every)


@dataclass(frozen=True, slots=True)
class TraceEffect:
    """The effect on one trace: at temperature 1, and at the temperature of distillation."""

    trace: TeacherTrace
    plain: HintEffect
    tempered: HintEffect


def _measure_shard(
    run: Run, shard: Shard, rows: Sequence[int], model: Any, temperature: float, token_budget: int
) -> Iterator[TraceEffect]:
    """The effect on some traces of a shard, one by one."""
    from ..signal import codecs, hint_effect, layout

    table = run.store.table(*shard, [layout.COLUMN])
    metadata = json.loads(table.schema.metadata[layout.METADATA.encode()])
    records = run.store.records(*shard, TeacherTrace)
    traces = [records[row] for row in rows]
    for row, trace, states_NH in zip(rows, traces, hint_effect.bare_states(model, traces, token_budget), strict=True):
        teacher = hint_effect.teacher_on_device(codecs.from_arrow(table[layout.COLUMN], row, metadata), metadata, model)
        plain = hint_effect.effect(model, states_NH, teacher)
        tempered = plain if temperature == 1 else hint_effect.effect(model, states_NH, teacher, temperature)
        yield TraceEffect(trace, plain, tempered)


def _summarise(
    effects: Sequence[TraceEffect], of: int, temperature: float, top: int, tokenizer: Any
) -> HintEffectStats:
    kl = _concatenate([e.plain.kl_N for e in effects])
    at = [EffectAtTemperature(1.0, Spread.of(_concatenate([e.plain.entropy_N for e in effects])), Spread.of(kl))]
    if temperature != 1:
        entropies, kls = (_concatenate([getattr(e.tempered, n) for e in effects]) for n in ("entropy_N", "kl_N"))
        at.append(EffectAtTemperature(temperature, Spread.of(entropies), Spread.of(kls)))
    tokens = [(e, i) for e in effects for i in range(len(e.plain.kl_N))]
    largest = [tokens[n] for n in (-kl).argsort(kind="stable")[:top]]
    moments = tuple(_token_in_context(e, i, tokenizer) for e, i in largest)
    return HintEffectStats(len(effects), of, len(kl), float((kl > LARGE).mean()), tuple(at), moments)


def _concatenate(tensors: Sequence[torch.Tensor]) -> NDArray[np.float64]:
    import torch

    return torch.cat(list(tensors)).double().numpy()


def _token_in_context(effect: TraceEffect, index: int, tokenizer: Any) -> TokenInContext:
    trace = effect.trace
    before = decode(tokenizer, trace.completion_ids[max(0, index - CONTEXT) : index])
    return TokenInContext(trace.problem_id, index, before, annotate_token(tokenizer, trace, index, effect.plain))
