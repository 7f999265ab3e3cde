"""The teacher signal of a finished run in numbers: what it takes, how exact it is, and what the hint changed.

`storage` and `certificates` read metadata of the shards alone; `survey` has the base model read solutions behind bare
questions. Nothing is written.
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
from ..records import TeacherTrace, from_row, schema
from ..signal.annotate import annotate_token, decode
from ..signal.marks import AnnotatedSolution, TokenEffect
from ..store import FileEntry, Manifest
from .summary import signal_origins

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from ..runs import Run
    from ..signal.hint import HintEffect

Shard = tuple[Manifest, FileEntry]

SEED = 0  # of the traces that are examined
CONTEXT = 24  # tokens shown before one that is singled out
LARGE = 1.0  # nats


@dataclass(frozen=True, slots=True)
class Storage:
    """What the signal takes: `raw_bytes` and `stored_bytes` are its vectors' before and after compression.

    `fields` are a token's vectors, in words; `file_bytes` are whole shards, with prompts, solutions and those that were
    dropped; `logits_bytes` are those of one token's logits in float32.
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
        """How many times as large logits in float32 would be."""
        return self.logits_bytes * self.tokens / self.stored_bytes


@dataclass(frozen=True, slots=True)
class Certificates:
    """What the certificates of all shards say together, in nats; `valid` shards may be trained on."""

    shards: int
    valid: int
    tokens: int
    mean_kl_error: float
    max_kl_error: float
    max_logp_error: float


@dataclass(frozen=True, slots=True)
class Spread:
    """How a figure is distributed over tokens."""

    mean: float
    median: float
    p90: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Spread:
        import numpy as np

        return cls(float(values.mean()), *(float(q) for q in np.percentile(values, (50, 90, 99, 100))))


@dataclass(frozen=True, slots=True)
class Moment:
    """A token at which the hint changed much: its `index` in the solution, some text before it, and both models."""

    problem_id: str
    index: int
    before: str
    mark: TokenEffect


@dataclass(frozen=True, slots=True)
class At:
    """Teacher's entropy and KL(teacher || bare student) at one temperature, in nats a token."""

    temperature: float
    entropy: Spread
    kl: Spread


@dataclass(frozen=True, slots=True)
class Survey:
    """The hint's effect on `tokens` tokens of `traces` traces, of `of`.

    `large` is the share of tokens at which KL is above `LARGE` at temperature 1, the first of `at`; the second, if it
    is another, is that of distillation.
    """

    traces: int
    of: int
    tokens: int
    large: float
    at: tuple[At, ...]
    moments: tuple[Moment, ...]


def storage(run: Run) -> Storage:
    """What the signal of a run takes on the disk.

    Raises:
        ConfigError: the run has no taught trace.
        StoreError: the store no longer holds its shards.
    """
    import pyarrow.parquet as pq

    from ..signal import layout

    manifests = taught(run)
    origin = next(signal_origins(run.store, manifests[0]))
    shards = _shards(manifests)
    tokens = sum(m.stats["tokens"] for m in manifests)
    return Storage(
        codec=origin["codec"],
        fields={name: f"{f.width} {f.dtype}" for name, f in layout.fields(origin).items()},
        shards=len(shards),
        traces=sum(m.stats["taught"] for m in manifests),
        tokens=tokens,
        raw_bytes=tokens * layout.bytes_per_token(origin),
        stored_bytes=sum(_signal_bytes(pq.read_metadata(run.store.path(*s))) for s in shards),
        file_bytes=sum(entry.bytes for _, entry in shards),
        logits_bytes=4 * origin["vocabulary"],
    )


def _signal_bytes(file: Any) -> int:
    """Compressed bytes of the signal's columns in one Parquet file, by its metadata."""
    from ..signal.layout import COLUMN

    groups = (file.row_group(i) for i in range(file.num_row_groups))
    columns = (group.column(i) for group in groups for i in range(group.num_columns))
    return sum(c.total_compressed_size for c in columns if c.path_in_schema.split(".")[0] == COLUMN)


def certificates(run: Run) -> Certificates:
    """The certificates of a run's signal, each shard's mean weighted by its tokens.

    Raises:
        ConfigError: the run has no taught trace.
        StoreError: the store no longer holds its shards.
    """
    from ..signal.compatibility import MAX_MEAN_KL

    found = [o for manifest in taught(run) for o in signal_origins(run.store, manifest)]
    tokens = sum(o["tokens"] for o in found)
    return Certificates(
        shards=len(found),
        valid=sum(0 <= o["mean_kl_error"] <= MAX_MEAN_KL for o in found),
        tokens=tokens,
        mean_kl_error=sum(o["mean_kl_error"] * o["tokens"] for o in found) / tokens,
        max_kl_error=max(o["max_kl_error"] for o in found),
        max_logp_error=max(o["max_logp_error"] for o in found),
    )


def taught(run: Run) -> list[Manifest]:
    """The captured signal of every wave.

    Raises:
        ConfigError: the run did not get that far, or taught nothing.
        StoreError: the store no longer holds it.
    """
    found = [m for m in run.manifests("teach") if m.stats.get("taught")]
    if found:
        return found
    stages = run.load_summary()["stages"]
    if "teach" in stages:
        raise ConfigError(
            f"run {run.name} taught no trace, so there is no signal\n  remedy: `ssb report {run.name}` counts why "
            "solutions were dropped; sample more problems (problems.limit)"
        )
    raise ConfigError(
        f"run {run.name} ended after {list(stages)[-1]}, before any signal was captured\n  remedy: finish it with "
        f"`ssb run --config {run.directory / 'config.yaml'} --name {run.name}`"
    )


def marked(run: Run) -> AnnotatedSolution | None:
    """The solution that shows the hint's effect: of those in the shards' metadata the one whose mean KL is the median.

    Raises:
        StoreError: the store no longer holds the run's shards.
    """
    import pyarrow.parquet as pq

    schemas = [pq.read_schema(run.store.path(*shard)) for shard in _shards(run.manifests("teach"))]
    found = [m for s in schemas if (m := AnnotatedSolution.load(s.metadata))]
    return sorted(found, key=lambda m: m.mean_kl)[len(found) // 2] if found else None


def _shards(manifests: Sequence[Manifest]) -> list[Shard]:
    return [(manifest, entry) for manifest in manifests for entry in manifest.files]


def survey(run: Run, limit: int, top: int, progress: Progress) -> Survey:
    """The hint's effect on a seeded draw of `limit` traces (0: all), and the `top` tokens at which it is largest.

    Raises:
        ConfigError: the run has no taught trace, or its model is no longer what it was.
        StoreError: a shard is damaged, is another model's, or is not certified.
    """
    from .. import models
    from ..signal.compatibility import refuse_unfit
    from .provenance import Origin

    manifests, origin = taught(run), Origin.of(run)
    execution, temperature = origin.config.execution, origin.config.distill.temperature
    drawn, of = _draw(run, manifests, limit)
    model, tokenizer = models.load_model(origin.model, execution.device), models.load_tokenizer(origin.model)
    refuse_unfit((o for m in manifests for o in signal_origins(run.store, m)), model, tokenizer)
    progress.begin("survey", sum(len(rows) for _, rows in drawn), "traces")
    seen: list[Examined] = []
    for shard, rows in drawn:
        for one in _examine(run, shard, rows, model, temperature, execution.capture_tokens):
            seen.append(one)
            progress.advance()
    progress.end()
    return _summed_up(seen, of, temperature, top, tokenizer)


def _draw(run: Run, manifests: Sequence[Manifest], limit: int) -> tuple[list[tuple[Shard, list[int]]], int]:
    """Shards with the rows drawn from each, in order, and how many traces there are to draw from."""
    shards = _shards(manifests)
    dropped = [run.store.table(*shard, ["dropped"])["dropped"].to_pylist() for shard in shards]
    every = [(s, row) for s, reasons in enumerate(dropped) for row, reason in enumerate(reasons) if reason is None]
    drawn = sorted(random.Random(SEED).sample(every, limit)) if 0 < limit < len(every) else every
    return [(shards[s], [row for _, row in rows]) for s, rows in groupby(drawn, itemgetter(0))], len(every)


@dataclass(frozen=True, slots=True)
class Examined:
    """One trace: the effect at temperature 1, and at that of distillation."""

    trace: TeacherTrace
    plain: HintEffect
    tempered: HintEffect


def _examine(
    run: Run, shard: Shard, rows: Sequence[int], model: Any, temperature: float, token_budget: int
) -> Iterator[Examined]:
    """The effect on some traces of a shard, one by one."""
    from ..signal import codecs, hint, layout

    table = run.store.table(*shard)
    origin = json.loads(table.schema.metadata[layout.METADATA.encode()])
    records = table.select(schema(TeacherTrace).names).take(list(rows)).to_pylist()
    traces = [from_row(TeacherTrace, r) for r in records]
    for row, trace, states_NH in zip(rows, traces, hint.bare_states(model, traces, token_budget), strict=True):
        teacher = hint.teacher_on_device(codecs.from_arrow(table[layout.COLUMN], row, origin), origin, model)
        plain = hint.effect(model, states_NH, teacher)
        tempered = plain if temperature == 1 else hint.effect(model, states_NH, teacher, temperature)
        yield Examined(trace, plain, tempered)


def _summed_up(seen: Sequence[Examined], of: int, temperature: float, top: int, tokenizer: Any) -> Survey:
    kl = _joined([e.plain.kl_N for e in seen])
    at = [At(1.0, Spread.of(_joined([e.plain.entropy_N for e in seen])), Spread.of(kl))]
    if temperature != 1:
        entropies, kls = (_joined([getattr(e.tempered, n) for e in seen]) for n in ("entropy_N", "kl_N"))
        at.append(At(temperature, Spread.of(entropies), Spread.of(kls)))
    places = [(e, i) for e in seen for i in range(len(e.plain.kl_N))]
    largest = [places[n] for n in (-kl).argsort(kind="stable")[:top]]
    moments = tuple(_moment(e, i, tokenizer) for e, i in largest)
    return Survey(len(seen), of, len(kl), float((kl > LARGE).mean()), tuple(at), moments)


def _joined(parts: Sequence[torch.Tensor]) -> NDArray[np.float64]:
    import torch

    return torch.cat(list(parts)).double().numpy()


def _moment(examined: Examined, index: int, tokenizer: Any) -> Moment:
    trace = examined.trace
    before = decode(tokenizer, trace.completion_ids[max(0, index - CONTEXT) : index])
    return Moment(trace.problem_id, index, before, annotate_token(tokenizer, trace, index, examined.plain))
