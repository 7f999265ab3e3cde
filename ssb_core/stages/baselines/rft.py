"""Baseline rft: cross-entropy on the model's own correct rollouts (rejection sampling fine-tuning, Yuan et al. 2023).

It uses the problems of the student that it is compared with. For each it learns the rollout that the teacher saw as the
correct one. The gain of sft over it comes from the hint.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from ...records import Rollout, Selection
from ...store import Manifest, Store
from ...training.dataset import IDS, write
from .. import distill, select
from ..execute import Outcome, required
from ..runtime import Runtime
from ..shards import downstream_inputs

if TYPE_CHECKING:
    import pyarrow as pa


class Spec(distill.Spec):
    """The correct rollout of every problem that was taught."""

    stage: ClassVar[str] = "rft"
    method: Literal["rft"] = "rft"  # type: ignore[assignment]


def of(ssb: distill.Spec) -> Spec:
    """The baseline's request for comparison with the student `ssb`."""
    return Spec(**ssb.as_text())


def run(spec: Spec, store: Store, runtime: Runtime) -> Outcome:
    """Train on the correct rollouts, from the last checkpoint if there is one, and commit the adapter."""
    return distill.run(spec, store, runtime, write_dataset)


def write_dataset(spec: distill.Spec, store: Store, taught: Sequence[Manifest], path: Path) -> int:
    """Write the rollouts to `path` as traces without a signal; returns how many there are."""
    import pyarrow as pa

    schema = pa.schema([(name, pa.list_(pa.int32())) for name in IDS])
    return write(path, schema, islice(_rows(spec, store, taught), spec.limit))


def _rows(spec: distill.Spec, store: Store, taught: Sequence[Manifest]) -> Iterator[pa.Table]:
    """The bare question and the correct rollout of each taught problem, as a table of one row."""
    import pyarrow as pa

    for request, manifest in zip(spec.teach, taught, strict=True):
        selection = request.solutions.select
        selected, sampled = required(selection, store), required(selection.rollouts, store)
        inputs = downstream_inputs(selected, store, selection.rollouts.load_wave())
        for item, rollouts, entry in zip(inputs, sampled.files, manifest.files, strict=True):
            assert item.upstream
            selections = store.records(selected, item.upstream, Selection)
            pairs = select.pairs(selections, store.records(sampled, rollouts, Rollout), item.problems)
            correct = {p.problem.id: p.correct for p in pairs}
            for row in store.table(manifest, entry, ["problem_id", "dropped", IDS[0]]).to_pylist():
                if row["dropped"] is None:
                    ids = (row[IDS[0]], correct[row["problem_id"]].completion_ids)
                    yield pa.table({name: [i] for name, i in zip(IDS, ids, strict=True)})
