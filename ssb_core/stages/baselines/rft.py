"""Baseline rft: cross-entropy on the model's own correct rollouts (rejection sampling fine-tuning, Yuan et al. 2023).

Its problems are those of the student it is compared with, and of each it learns the rollout that was shown to the
teacher as the correct one. What sft gains over it, the hint adds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from ...progress import Progress
from ...store import Manifest, Store
from ...training.dataset import IDS, write
from .. import Outcome, distill, required, select
from ..shards import downstream_inputs

if TYPE_CHECKING:
    import pyarrow as pa


class Spec(distill.Spec):
    """The correct rollout of every problem that was taught."""

    stage: ClassVar[str] = "rft"
    method: Literal["rft"] = "rft"  # type: ignore[assignment]


def of(ssb: distill.Spec) -> Spec:
    """What is compared with the student `ssb`."""
    return Spec(**ssb.as_text())


def run(spec: Spec, store: Store, progress: Progress) -> Outcome:
    """Train, or go on training, and commit the adapter."""
    return distill.run(spec, store, progress, lay_out)


def lay_out(spec: distill.Spec, store: Store, taught: Sequence[Manifest], path: Path) -> int:
    """Write the rollouts to `path` as traces without a signal; how many there are."""
    import pyarrow as pa

    schema = pa.schema([(name, pa.list_(pa.int32())) for name in IDS])
    return write(path, schema, islice(_rows(spec, store, taught), spec.limit))


def _rows(spec: distill.Spec, store: Store, taught: Sequence[Manifest]) -> Iterator[pa.Table]:
    """The bare question and the correct rollout of each taught problem, as a table of one row."""
    import pyarrow as pa

    for request, manifest in zip(spec.teach, taught, strict=True):
        chosen = request.solutions.select
        selected, sampled = required(chosen, store), required(chosen.rollouts, store)
        inputs = downstream_inputs(selected, store, chosen.rollouts.wave)
        for item, shown, entry in zip(inputs, sampled.files, manifest.files, strict=True):
            assert item.upstream
            graded, rolled = store.table(selected, item.upstream), store.table(sampled, shown)
            correct = {p.problem.id: p.correct for p in select.pairs(graded, rolled, item.problems)}
            for row in store.table(manifest, entry, ["problem_id", "dropped", IDS[0]]).to_pylist():
                if row["dropped"] is None:
                    ids = (row[IDS[0]], correct[row["problem_id"]].completion_ids)
                    yield pa.table({name: [i] for name, i in zip(IDS, ids, strict=True)})
