"""The history of one problem in a run, at every stage, read from the shards alone.

The problem ids in sidecars say which shard holds a problem, so a history reads one shard per stage, and only the
columns of its record: never the captured vectors. `report.problem_history` writes a history in words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from .. import problems
from ..config import ProblemsConfig
from ..errors import ConfigError
from ..records import Problem, Rejection, Rollout, Sample, Selection, TeacherTrace
from ..store import Manifest
from ..suggest import nearest
from . import queries

if TYPE_CHECKING:
    from ..runs import Run

R = TypeVar("R", Rollout, Selection, TeacherTrace, Sample)
TRAINING = "training problem"


@dataclass(frozen=True, slots=True)
class ProblemHistory:
    """One problem in a run. A field is empty if the run did not get that far, or if it does not apply to the problem.

    `problem_set_name` is ``training problem`` or the name of a benchmark. `samples` holds those of each evaluation by
    its name, ``MODEL on BENCHMARK``. `unverifiable` says why the problem was never sampled, if it was not.
    """

    problem: Problem
    problem_set_name: str
    rollouts: tuple[Rollout, ...] = ()
    selection: Selection | None = None
    trace: TeacherTrace | None = None
    samples: tuple[tuple[str, tuple[Sample, ...]], ...] = ()
    unverifiable: Rejection | None = None

    @property
    def rejection(self) -> Rejection | None:
        """The stage at which the problem left the pipeline, and the reason; None if it did not."""
        if self.unverifiable:
            return self.unverifiable
        for stage, row in (("select", self.selection), ("teach", self.trace)):
            if row is not None and row.dropped:
                return Rejection(self.problem.id, stage, row.dropped)
        return None


def load_history(run: Run, problem_id: str) -> ProblemHistory:
    """Read the history of one problem, of the training set or of a benchmark.

    The number of an id may be shortened: ``nano-train-7`` is ``nano-train-0007``.

    Raises:
        ConfigError: no problem set of the run has this id, or several problems have this number; the message names the
            most similar ids.
        StoreError: the store no longer has the run's shards.
    """
    problem, set_name, unverifiable = _find(run, problem_id)
    if unverifiable:
        return ProblemHistory(problem, set_name, unverifiable=unverifiable)
    if set_name != TRAINING:
        benchmarks = queries.load_config(run).evaluate.limited_benchmarks()
        names = {b.name for b in benchmarks if problem in problems.load_problems(b)}  # ids are unique only within a set
        evaluations = [e for e in queries.load_evaluations(run) if e.benchmark in names]
        samples = [(f"{e.model} on {e.benchmark}", _rows(run, [e.manifest], Sample, problem.id)) for e in evaluations]
        return ProblemHistory(problem, set_name, samples=tuple(samples))
    rollouts = _rows(run, run.manifests("rollouts"), Rollout, problem.id)
    selections = _rows(run, run.manifests("select"), Selection, problem.id)
    traces = _rows(run, run.manifests("teach"), TeacherTrace, problem.id)
    return ProblemHistory(problem, set_name, rollouts, next(iter(selections), None), next(iter(traces), None))


def load_examples(run: Run, n: int = 1, stage: str = "teach") -> list[ProblemHistory]:
    """The histories of the first `n` problems that a stage (teach or select) kept."""
    return [load_history(run, problem_id) for problem_id in islice(_kept_ids(run, stage), n)]


def example_id(run: Run) -> str | None:
    """The id of a problem of the run: of one that was taught, or else selected, or else sampled."""
    for stage in ("teach", "select"):
        if problem_id := next(iter(_kept_ids(run, stage)), None):
            return problem_id
    manifests = run.manifests("rollouts")
    return next((i for m in manifests for f in m.files for i in run.store.sidecar(m, f).problem_ids), None)


def load_flipped(run: Run, better: int = 2, worse: int = 1) -> list[ProblemHistory]:
    """The problems of the first benchmark on which the student gained most over the base, then those it lost most on.

    Their `samples` are those of the base and the student. The list is empty without a student.
    """
    evaluations = [e for e in queries.load_evaluations(run) if e.model in ("base", "ssb")]
    by_model = {e.model: e for e in reversed(evaluations) if e.benchmark == evaluations[0].benchmark}
    if len(by_model) < 2:
        return []
    base, student = (_count_correct(run, by_model[model].manifest) for model in ("base", "ssb"))
    change = {problem_id: student[problem_id] - base[problem_id] for problem_id in base if problem_id in student}
    up = [i for i in sorted(change, key=lambda i: -change[i]) if change[i] > 0][:better]
    down = [i for i in sorted(change, key=lambda i: change[i]) if change[i] < 0][:worse]
    histories = [load_history(run, problem_id) for problem_id in (*up, *down)]
    names = {f"{model} on {e.benchmark}" for model, e in by_model.items()}
    return [replace(h, samples=tuple((name, rows) for name, rows in h.samples if name in names)) for h in histories]


def _count_correct(run: Run, manifest: Manifest) -> Counter[str]:
    """The number of correct samples of each problem."""
    correct: Counter[str] = Counter()
    for table in run.store.tables(manifest, ["problem_id", "verdict"]):
        for row in table.to_pylist():
            correct[row["problem_id"]] += row["verdict"]["status"] == "correct"
    return correct


def _find(run: Run, problem_id: str) -> tuple[Problem, str, Rejection | None]:
    """The problem, the name of its set, and why it is unverifiable, if it is.

    If several sets have the id, the training problem is meant, and an unverifiable problem only if no other has it.
    """
    config = queries.load_config(run)
    sets: dict[str, ProblemsConfig] = {
        TRAINING: config.problems,
        **{b.name: b for b in config.evaluate.limited_benchmarks()},
    }
    for problem, set_name, unverifiable in _all_problems(sets):
        if problem.id == problem_id:
            return problem, set_name, unverifiable
    ids = dict.fromkeys(problem.id for problem, _, _ in _all_problems(sets))
    meant = [i for i in ids if is_short_for(problem_id, i)]
    if len(meant) == 1:
        return _find(run, meant[0])
    similar = meant or nearest(problem_id, ids, n=3) or [problems.load_problems(s)[0].id for s in sets.values()]
    raise ConfigError(
        f"run {run.name} has no problem {problem_id!r}\n  remedy: give one of its ids, like {', '.join(similar[:3])}"
    )


def is_short_for(given: str, problem_id: str) -> bool:
    """Whether an id has the name and number that are given; a number alone fits every name."""
    (name, number), (whole_name, whole_number) = _split_number(given), _split_number(problem_id)
    return bool(number) and number == whole_number and name in ("", whole_name)


def _split_number(problem_id: str) -> tuple[str, str]:
    """``Nano-train-0007`` is ("nano-train", "7")."""
    name = problem_id.rstrip("0123456789")
    number = problem_id[len(name) :]
    return name.rstrip("-_ #").lower(), number.lstrip("0") or number[-1:]


def _all_problems(sets: Mapping[str, ProblemsConfig]) -> Iterator[tuple[Problem, str, Rejection | None]]:
    """The usable problems of all sets, then the unverifiable ones, each with the name of its set and the reason."""
    for name, config in sets.items():
        yield from ((problem, name, None) for problem in problems.load_problems(config))
    for name, config in sets.items():
        for problem, reason in zip(problems.unverifiable(config), problems.rejections(config), strict=True):
            yield problem, name, reason


def _rows(run: Run, manifests: Iterable[Manifest], record: type[R], problem_id: str) -> tuple[R, ...]:
    """The records of one problem, from the only shard that holds it."""
    for manifest in manifests:
        for file in manifest.files:
            if problem_id in run.store.sidecar(manifest, file).problem_ids:
                rows = run.store.records(manifest, file, record)
                return tuple(row for row in rows if row.problem_id == problem_id)
    return ()


def _kept_ids(run: Run, stage: str) -> Iterator[str]:
    for manifest in run.manifests(stage):
        for table in run.store.tables(manifest, ["problem_id", "dropped"]):
            yield from (row["problem_id"] for row in table.to_pylist() if row["dropped"] is None)
