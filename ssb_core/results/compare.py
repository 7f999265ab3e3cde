"""Two evaluated models problem by problem: the difference, whether it is noise, and the problems that flipped.

A side is one model of one finished run. Problems are matched by id and content. If a benchmark changed between the two
runs, or one run answered only a part of it, the comparison is over the problems that both answered, and notes say so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import problems
from ..config import Benchmark
from ..errors import ConfigError
from ..evaluation import statistics
from ..records import PairedDifference, Problem, Sample
from ..runs import Run
from ..store import Store
from . import queries, wording

EXAMPLES = 3  # ids that a note lists


@dataclass(frozen=True, slots=True)
class Side:
    """One model of a finished run."""

    run: Run
    model: str

    @property
    def label(self) -> str:
        """``RUN:MODEL``."""
        return f"{self.run.name}:{self.model}"

    def load_benchmarks(self) -> dict[str, dict[str, Any]]:
        """The benchmarks that the model was evaluated on, by name, as summary.json describes them."""
        return {name: b for name, b in self.run.load_summary()["benchmarks"].items() if self.model in b["models"]}

    def describe(self) -> str:
        """For example ``student of Qwen/Qwen2.5-3B-Instruct``."""
        source = queries.load_config(self.run).model.source
        if self.model == "adapter":
            return f"adapter {self.run.load_summary()['adapter']['directory']} on {source}"
        return source if self.model == "base" else f"{'student' if self.model == 'ssb' else self.model} of {source}"


@dataclass(frozen=True, slots=True)
class ProblemSamples:
    """A problem and a model's samples of it."""

    problem: Problem
    samples: tuple[Sample, ...]

    @property
    def correct(self) -> int:
        """The number of correct samples."""
        return sum(s.verdict.status == "correct" for s in self.samples)

    @property
    def rate(self) -> float:
        """The share of correct samples."""
        return self.correct / len(self.samples)

    @property
    def answer(self) -> str | None:
        """The most common answer, or the first of several; None if most samples state no answer."""
        return Counter(s.verdict.answer for s in self.samples).most_common(1)[0][0]


@dataclass(frozen=True, slots=True)
class Flip:
    """A problem that one side gets right more often than the other."""

    first: ProblemSamples
    second: ProblemSamples

    @property
    def change(self) -> float:
        """The second side's rate of correct samples minus the first's; it is not 0."""
        return self.second.rate - self.first.rate


@dataclass(frozen=True, slots=True)
class SideScore:
    """A side's accuracy (avg@k) over the problems that both sides answered, with its 95% interval."""

    accuracy: float
    ci95: tuple[float, float]
    samples: int


@dataclass(frozen=True, slots=True)
class BenchmarkComparison:
    """Both sides on one benchmark.

    Both answered `n` of its `of` problems. `paired` is second minus first. `improved` and `worsened` problems are
    sorted by the size of their change, largest first. `notes` say what else differs between the two sides.
    """

    benchmark: str
    n: int
    of: int
    first: SideScore
    second: SideScore
    paired: PairedDifference
    improved: tuple[Flip, ...]
    worsened: tuple[Flip, ...]
    notes: tuple[str, ...]

    @property
    def partial(self) -> bool:
        """Whether the comparison leaves out problems of the benchmark."""
        return self.n < self.of

    @property
    def alike(self) -> int:
        """The number of problems that both sides get right equally often."""
        return self.n - len(self.improved) - len(self.worsened)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides on every benchmark that both were evaluated on."""

    first: Side
    second: Side
    benchmarks: tuple[BenchmarkComparison, ...]
    notes: tuple[str, ...]


def load_side(runs: Path, text: str, model: str | None, store: Store) -> Side:
    """The side that ``RUN`` or ``RUN:MODEL`` names.

    ``RUN`` means `model`, or by default the student, else the base, else the only model of an evaluation.

    Raises:
        ConfigError: there is no such run, it is not finished, it evaluated nothing, or it has no such model.
    """
    name, _, named_model = (text, "", "") if (runs / text).is_dir() else text.partition(":")
    run = Run.named(runs, name, store)
    models = list(dict.fromkeys(m for b in run.load_summary()["benchmarks"].values() for m in b["models"]))
    if not models:
        raise ConfigError(
            f"run {run.name} evaluated no model, so there is nothing to compare\n"
            f"  remedy: ssb run --config {run.directory / 'config.yaml'} --name {run.name}"
        )
    chosen = named_model or model or next((m for m in ("ssb", "base") if m in models), models[0])
    if chosen not in models:
        raise ConfigError(f"run {run.name} evaluated no model {chosen!r}\n  remedy: give one of: {', '.join(models)}")
    return Side(run, chosen)


def compare(first: Side, second: Side) -> Comparison:
    """Compare both sides on every benchmark that both were evaluated on.

    Raises:
        ConfigError: both sides are the same, they have no benchmark or no problem in common, or a problem set has
            changed.
        StoreError: the store no longer has the samples of one side.
    """
    if (first.run.directory.resolve(), first.model) == (second.run.directory.resolve(), second.model):
        raise ConfigError(
            f"{first.label} and {second.label} are the same model of the same run\n"
            f"  remedy: name two runs, or two models of one: ssb compare {first.run.name}:base {first.run.name}:ssb"
        )
    benchmarks = {side: side.load_benchmarks() for side in (first, second)}
    common = [name for name in benchmarks[first] if name in benchmarks[second]]
    if not common:
        lists = (f"{side.label} was evaluated on {', '.join(names)}" for side, names in benchmarks.items())
        raise ConfigError(f"there is no benchmark to compare on: {'; '.join(lists)}")
    others = {side.label: sorted(set(names) - set(common)) for side, names in benchmarks.items()}
    notes = [f"only {label} was evaluated on {', '.join(names)}" for label, names in others.items() if names]
    return Comparison(first, second, tuple(_compare_on(name, first, second) for name in common), tuple(notes))


def _compare_on(name: str, first: Side, second: Side) -> BenchmarkComparison:
    ours, theirs = load_samples(first, name), load_samples(second, name)
    both = [i for i in ours if i in theirs and _content(ours[i]) == _content(theirs[i])]
    if not both:
        raise ConfigError(
            f"{name}: {first.label} and {second.label} answered no common problem, by id, question and reference "
            "answer\n  remedy: evaluate both on the same problem set"
        )
    pairs = [Flip(ours[i], theirs[i]) for i in both]
    flips = sorted((f for f in pairs if f.change), key=lambda f: -abs(f.change))
    correct = [_correct_array(ours[i] for i in both), _correct_array(theirs[i] for i in both)]
    a, b = first.load_benchmarks()[name], second.load_benchmarks()[name]
    notes = [
        *_notes_on_sides({first: a, second: b}, name),
        *_notes_on_problems(ours, theirs, first, second),
        *differences(a, b),
    ]
    return BenchmarkComparison(
        name,
        len(both),
        max(a["of"], b["of"]),
        _score(correct[0]),
        _score(correct[1]),
        statistics.paired(correct[1], correct[0]),
        tuple(f for f in flips if f.change > 0),
        tuple(f for f in flips if f.change < 0),
        tuple(notes),
    )


def load_samples(side: Side, benchmark: str) -> dict[str, ProblemSamples]:
    """Every problem of a benchmark by its id, with the side's samples of it.

    Raises:
        ConfigError: the problem set cannot be read, or has changed since the run.
        StoreError: the store no longer has the samples.
    """
    config = next(b for b in queries.load_config(side.run).evaluate.limited_benchmarks() if b.name == benchmark)
    by_id = {p.id: p for p in _load_problems(side, config)}
    evaluations = queries.load_evaluations(side.run)
    evaluation = next(e for e in evaluations if (e.benchmark, e.model) == (benchmark, side.model))
    samples: dict[str, list[Sample]] = {i: [] for i in by_id}
    for file in evaluation.manifest.files:
        for sample in side.run.store.records(evaluation.manifest, file, Sample):
            samples[sample.problem_id].append(sample)
    return {i: ProblemSamples(by_id[i], tuple(s)) for i, s in samples.items()}


def _load_problems(side: Side, benchmark: Benchmark) -> problems.ProblemSet:
    problem_set = problems.load_problems(benchmark)
    if problems.content_digest(problem_set) != side.load_benchmarks()[benchmark.name]["content"]:
        raise ConfigError(
            f"{benchmark.source} is no longer what run {side.run.name} read: its problems have changed\n"
            "  remedy: restore the old file, or run again with the new one"
        )
    return problem_set


def _content(samples: ProblemSamples) -> tuple[str, str]:
    return samples.problem.question, samples.problem.answer


def _correct_array(problems: Iterable[ProblemSamples]) -> np.ndarray:
    """Whether each sample is correct, as a (problems, samples) array."""
    return np.array([[s.verdict.status == "correct" for s in p.samples] for p in problems])


def _score(correct: np.ndarray) -> SideScore:
    mean, ci95 = statistics.accuracy(correct)
    return SideScore(mean.mean, ci95, correct.shape[-1])


def _notes_on_sides(benchmarks: Mapping[Side, Mapping[str, Any]], name: str) -> list[str]:
    """Notes that a side is a partial result, has several seeds, or may have seen benchmark problems in training."""
    counts = {side: wording.problem_count(b) for side, b in benchmarks.items() if b["partial"]}
    same = len(set(counts.values())) == 1 and len(counts) == len(benchmarks)
    notes = [] if same else [f"{side.label} is a partial result: {count}" for side, count in counts.items()]
    seeds = {side: len(b["models"][side.model].get("seeds", ())) for side, b in benchmarks.items()}
    notes += [f"{side.label} was trained with {n} seeds; its first is compared" for side, n in seeds.items() if n]
    students = {side: b for side, b in benchmarks.items() if side.model != "base"}
    warnings = {side: wording.contamination_warning(name, b) for side, b in students.items()}
    return notes + [f"{side.label}: {warning.removesuffix('.')}" for side, warning in warnings.items() if warning]


def _notes_on_problems(
    ours: Mapping[str, ProblemSamples], theirs: Mapping[str, ProblemSamples], first: Side, second: Side
) -> list[str]:
    """Notes on which problems are not compared, and why."""
    changed = [i for i in ours if i in theirs and _content(ours[i]) != _content(theirs[i])]
    reasons = {
        f"only {first.label} answered": [i for i in ours if i not in theirs],
        f"only {second.label} answered": [i for i in theirs if i not in ours],
        "question or reference answer differs between the two": changed,
    }
    notes = [f"{reason}: {_some(ids)}" for reason, ids in reasons.items() if ids]
    return ["the problem sets differ, so only problems that both answered are compared", *notes] if notes else []


def _some(ids: Sequence[str]) -> str:
    rest = f" and {len(ids) - EXAMPLES:,} more" if len(ids) > EXAMPLES else ""
    return f"{', '.join(f'{i!r:.60}' for i in ids[:EXAMPLES])}{rest}"


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Notes on how prompts and sampling differ; `first` and `second` are a benchmark's parts of two summary.json."""
    notes = []
    if first["prompt_digest"] != second["prompt_digest"]:
        notes.append(f"prompts differ: {first['prompt_digest']} and {second['prompt_digest']}; the page shows both")
    ours, theirs = _sampling(first), _sampling(second)
    differing = [name for name in ours if ours[name] != theirs[name]]
    return notes + [f"{name.replace('_', ' ')} differs: {ours[name]} and {theirs[name]}" for name in differing]


def _sampling(benchmark: Mapping[str, Any]) -> dict[str, Any]:
    return {**benchmark["decoding"], "samples": benchmark["samples"], "answer_form": benchmark["answer_form"]}


def figures(comparison: Comparison) -> dict[str, Any]:
    """The comparison for programs: flips by id, with both sides' rate of correct samples and most common answer."""
    return {
        "first": comparison.first.label,
        "second": comparison.second.label,
        "notes": list(comparison.notes),
        "benchmarks": {c.benchmark: _benchmark_figures(c) for c in comparison.benchmarks},
    }


def _benchmark_figures(c: BenchmarkComparison) -> dict[str, Any]:
    return {
        "n": c.n,
        "of": c.of,
        "partial": c.partial,
        "first": asdict(c.first),
        "second": asdict(c.second),
        "paired": asdict(c.paired),
        "distinguishable": wording.significant(asdict(c.paired)),
        "improved": [_flip_figures(f) for f in c.improved],
        "worsened": [_flip_figures(f) for f in c.worsened],
        "alike": c.alike,
        "notes": list(c.notes),
    }


def _flip_figures(flip: Flip) -> dict[str, Any]:
    sides = {
        name: {"correct": s.rate, "answer": s.answer} for name, s in (("first", flip.first), ("second", flip.second))
    }
    return {"id": flip.first.problem.id, "reference": flip.first.problem.answer, "change": flip.change, **sides}
