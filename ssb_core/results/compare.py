"""Two evaluated models problem by problem: what differs, whether that is noise, and which problems flipped.

A side is one model of one finished run. Problems are matched by id and content, so a benchmark that changed between
two runs, or of which one run asked only a part, is compared on what both answered, and the difference is told.
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
from ..records import PairedDifference, Problem, Sample, from_row
from ..runs import Run
from ..store import Store
from . import queries, wording

SHOWN = 3  # ids that a note names


@dataclass(frozen=True, slots=True)
class Side:
    """One model of a finished run."""

    run: Run
    model: str

    @property
    def label(self) -> str:
        return f"{self.run.name}:{self.model}"

    @property
    def benchmarks(self) -> dict[str, dict[str, Any]]:
        """What summary.json says of the benchmarks that the model was evaluated on."""
        return {name: b for name, b in self.run.load_summary()["benchmarks"].items() if self.model in b["models"]}

    @property
    def described(self) -> str:
        """For example ``student of Qwen/Qwen2.5-3B-Instruct``."""
        source = queries.configuration(self.run).model.source
        return source if self.model == "base" else f"{'student' if self.model == 'ssb' else self.model} of {source}"


@dataclass(frozen=True, slots=True)
class Answered:
    """A problem and a model's samples of it."""

    problem: Problem
    samples: tuple[Sample, ...]

    @property
    def correct(self) -> int:
        return sum(s.verdict.status == "correct" for s in self.samples)

    @property
    def rate(self) -> float:
        return self.correct / len(self.samples)

    @property
    def answer(self) -> str | None:
        """The most common answer, the first of several; None if most samples state none."""
        return Counter(s.verdict.answer for s in self.samples).most_common(1)[0][0]


@dataclass(frozen=True, slots=True)
class Flip:
    """A problem that one side gets right more often than the other."""

    first: Answered
    second: Answered

    @property
    def change(self) -> float:
        """The rate of correct samples of the second side minus the first's, not 0."""
        return self.second.rate - self.first.rate


@dataclass(frozen=True, slots=True)
class Score:
    """Accuracy (avg@k) over the problems that both sides answered, with its 95% interval."""

    accuracy: float
    ci95: tuple[float, float]
    samples: int


@dataclass(frozen=True, slots=True)
class Compared:
    """Both sides on one benchmark. `improved` and `worsened` problems are sorted by how much, largest first.

    `paired` is second minus first; of `of` problems of the benchmark both answered `n`; `notes` say
    what else differs between the two.
    """

    benchmark: str
    n: int
    of: int
    first: Score
    second: Score
    paired: PairedDifference
    improved: tuple[Flip, ...]
    worsened: tuple[Flip, ...]
    notes: tuple[str, ...]

    @property
    def partial(self) -> bool:
        return self.n < self.of

    @property
    def alike(self) -> int:
        return self.n - len(self.improved) - len(self.worsened)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides on every benchmark that both were evaluated on."""

    first: Side
    second: Side
    benchmarks: tuple[Compared, ...]
    notes: tuple[str, ...]


def side(runs: Path, text: str, model: str | None, store: Store) -> Side:
    """The side that ``RUN`` or ``RUN:MODEL`` names; without a model it is `model`, else the student, else the base.

    Raises:
        ConfigError: there is no such run, it is not finished or evaluated nothing, or has no such model.
    """
    name, _, asked = (text, "", "") if (runs / text).is_dir() else text.partition(":")
    run = Run.named(runs, name, store)
    models = list(dict.fromkeys(m for b in run.load_summary()["benchmarks"].values() for m in b["models"]))
    if not models:
        raise ConfigError(
            f"run {run.name} evaluated no model, so there is nothing to compare\n"
            f"  remedy: ssb run --config {run.directory / 'config.yaml'} --name {run.name}"
        )
    wanted = asked or model or ("ssb" if "ssb" in models else "base")
    if wanted not in models:
        raise ConfigError(f"run {run.name} evaluated no model {wanted!r}\n  remedy: give one of: {', '.join(models)}")
    return Side(run, wanted)


def compare(first: Side, second: Side) -> Comparison:
    """Both sides on every benchmark that both were evaluated on.

    Raises:
        ConfigError: the two are the same, have no benchmark or no problem in common, or a problem set has changed.
        StoreError: the store no longer holds the samples of one of them.
    """
    if (first.run.directory.resolve(), first.model) == (second.run.directory.resolve(), second.model):
        raise ConfigError(
            f"{first.label} and {second.label} are the same model of the same run\n"
            f"  remedy: name two runs, or two models of one: ssb compare {first.run.name}:base {first.run.name}:ssb"
        )
    common = [name for name in first.benchmarks if name in second.benchmarks]
    if not common:
        theirs = (f"{s.label} was evaluated on {', '.join(s.benchmarks)}" for s in (first, second))
        raise ConfigError(f"there is no benchmark to compare on: {'; '.join(theirs)}")
    alone = {s.label: sorted(set(s.benchmarks) - set(common)) for s in (first, second)}
    notes = [f"only {label} was evaluated on {', '.join(names)}" for label, names in alone.items() if names]
    return Comparison(first, second, tuple(_on(name, first, second) for name in common), tuple(notes))


def _on(name: str, first: Side, second: Side) -> Compared:
    ours, theirs = answers(first, name), answers(second, name)
    both = [i for i in ours if i in theirs and _content(ours[i]) == _content(theirs[i])]
    if not both:
        raise ConfigError(
            f"{name}: {first.label} and {second.label} answered no common problem, by id, question and reference "
            "answer\n  remedy: evaluate both on the same problem set"
        )
    pairs = [Flip(ours[i], theirs[i]) for i in both]
    flips = sorted((f for f in pairs if f.change), key=lambda f: -abs(f.change))
    grids = [_grid(ours[i] for i in both), _grid(theirs[i] for i in both)]
    a, b = first.benchmarks[name], second.benchmarks[name]
    notes = [*_parts((first, second), name), *_left(ours, theirs, first, second), *differences(a, b)]
    return Compared(
        name,
        len(both),
        max(a["of"], b["of"]),
        _score(grids[0]),
        _score(grids[1]),
        statistics.paired(grids[1], grids[0]),
        tuple(f for f in flips if f.change > 0),
        tuple(f for f in flips if f.change < 0),
        tuple(notes),
    )


def answers(side: Side, benchmark: str) -> dict[str, Answered]:
    """Every problem of a benchmark by its id, with the side's samples of it.

    Raises:
        ConfigError: the problem set cannot be read, or has changed since.
        StoreError: the store no longer holds the samples.
    """
    asked = next(b for b in queries.configuration(side.run).evaluate.limited_benchmarks() if b.name == benchmark)
    by_id = {p.id: p for p in _asked(side, asked)}
    evaluation = next(e for e in queries.evaluations(side.run) if (e.benchmark, e.model) == (benchmark, side.model))
    samples: dict[str, list[Sample]] = {i: [] for i in by_id}
    for table in side.run.store.tables(evaluation.manifest):
        for row in table.to_pylist():
            samples[row["problem_id"]].append(from_row(Sample, row))
    return {i: Answered(by_id[i], tuple(s)) for i, s in samples.items()}


def _asked(side: Side, benchmark: Benchmark) -> problems.ProblemSet:
    found = problems.load_problems(benchmark)
    if problems.content_digest(found) != side.benchmarks[benchmark.name]["content"]:
        raise ConfigError(
            f"{benchmark.source} is no longer what run {side.run.name} read: its problems have changed\n"
            "  remedy: bring the old file back, or run again with the new one"
        )
    return found


def _content(answered: Answered) -> tuple[str, str]:
    return answered.problem.question, answered.problem.answer


def _grid(answered: Iterable[Answered]) -> np.ndarray:
    """(problems, samples), whether each sample is correct."""
    return np.array([[s.verdict.status == "correct" for s in a.samples] for a in answered])


def _score(correct: np.ndarray) -> Score:
    found, ci95 = statistics.accuracy(correct)
    return Score(found.mean, ci95, correct.shape[-1])


def _parts(sides: Sequence[Side], name: str) -> list[str]:
    """That one side answered less of the benchmark, and what the students may have seen of it in training."""
    told = [(s, wording.how_many(s.benchmarks[name])) for s in sides if s.benchmarks[name]["partial"]]
    alike = len({how_many for _, how_many in told}) == 1 and len(told) == len(sides)
    found = [] if alike else [f"{s.label} is a partial result: {how_many}" for s, how_many in told]
    seeds = {s: len(s.benchmarks[name]["models"][s.model].get("seeds", ())) for s in sides}
    found += [f"{s.label} was trained with {n} seeds; its first is compared" for s, n in seeds.items() if n]
    trained = [s for s in sides if s.model != "base"]
    seen = [(s, wording.contaminated(name, s.benchmarks[name])) for s in trained]
    return found + [f"{s.label}: {told.removesuffix('.')}" for s, told in seen if told]


def _left(ours: Mapping[str, Answered], theirs: Mapping[str, Answered], first: Side, second: Side) -> list[str]:
    """Which problems are not compared, and why."""
    changed = [i for i in ours if i in theirs and _content(ours[i]) != _content(theirs[i])]
    left = {
        f"only {first.label} answered": [i for i in ours if i not in theirs],
        f"only {second.label} answered": [i for i in theirs if i not in ours],
        "question or reference answer differs between the two": changed,
    }
    told = [f"{why}: {_some(ids)}" for why, ids in left.items() if ids]
    return ["the problem sets differ, so only what both answered is compared", *told] if told else []


def _some(ids: Sequence[str]) -> str:
    rest = f" and {len(ids) - SHOWN:,} more" if len(ids) > SHOWN else ""
    return f"{', '.join(f'{i!r:.60}' for i in ids[:SHOWN])}{rest}"


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """What was not the same in how the two were asked; each is its benchmark's part of summary.json."""
    found = []
    if first["prompt_digest"] != second["prompt_digest"]:
        found.append(f"prompts differ: {first['prompt_digest']} and {second['prompt_digest']}; both are in the page")
    ours, theirs = _sampled(first), _sampled(second)
    differing = [name for name in ours if ours[name] != theirs[name]]
    return found + [f"{name.replace('_', ' ')} differs: {ours[name]} and {theirs[name]}" for name in differing]


def _sampled(benchmark: Mapping[str, Any]) -> dict[str, Any]:
    return {**benchmark["decoding"], "samples": benchmark["samples"], "answer_form": benchmark["answer_form"]}


def figures(comparison: Comparison) -> dict[str, Any]:
    """The same for programs, flips by id with the rate of correct samples and the most common answer of both sides."""
    return {
        "first": comparison.first.label,
        "second": comparison.second.label,
        "notes": list(comparison.notes),
        "benchmarks": {c.benchmark: _figures(c) for c in comparison.benchmarks},
    }


def _figures(c: Compared) -> dict[str, Any]:
    return {
        "n": c.n,
        "of": c.of,
        "partial": c.partial,
        "first": asdict(c.first),
        "second": asdict(c.second),
        "paired": asdict(c.paired),
        "distinguishable": wording.significant(asdict(c.paired)),
        "improved": [_flipped(f) for f in c.improved],
        "worsened": [_flipped(f) for f in c.worsened],
        "alike": c.alike,
        "notes": list(c.notes),
    }


def _flipped(flip: Flip) -> dict[str, Any]:
    sides = {
        name: {"correct": a.rate, "answer": a.answer} for name, a in (("first", flip.first), ("second", flip.second))
    }
    return {"id": flip.first.problem.id, "reference": flip.first.problem.answer, "change": flip.change, **sides}
