"""A finished run's summary.json as typed records, for programs that use ssb as a library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from ..errors import ConfigError
from ..records import BenchmarkScore, PairedDifference
from ..runs import Run
from .costs import Cost, Making
from .rounds import Round

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class StageSummary:
    """One stage of a run. `status` is ran, cached or resumed; `tokens` is None for a stage that does not sample.

    It took `seconds` in this run, and `making_seconds` in all runs that made a part of it.
    """

    status: str
    seconds: float
    making_seconds: float
    shards: int
    shards_reused: int
    rows: int
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Yield:
    """The outcomes of the sampled problems of the first round, as counts.

    `bad_gold` counts the problems of the set that were not sampled because nothing can be verified against their
    reference answers. `unparsed`, `unverified` and `too_long` are the other reasons for which select drops a problem.
    `truncated` counts rollouts, not problems.
    """

    problems: int
    all_correct: int
    all_wrong: int
    mixed: int
    taught: int
    unparsed: int
    unverified: int
    too_long: int
    truncated: int
    bad_gold: int


@dataclass(frozen=True, slots=True)
class SignalSummary:
    """The teacher signal. `max_kl_error` is the largest error that a certificate states, in nats."""

    codec: str
    tokens: int
    bytes_per_token: int
    max_kl_error: float


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """The training of the student, of its first seed. Held-out losses are None if no trace was held out."""

    steps: int
    first_loss: float
    last_loss: float
    tokens_per_second: float
    first_held_out_loss: float | None = None
    best_held_out_loss: float | None = None


@dataclass(frozen=True, slots=True)
class NamedDifference:
    """The accuracy of `model` minus that of `baseline` on a benchmark.

    `string_match` is the same difference if answers had to be written exactly as the reference answers are.
    """

    benchmark: str
    model: str
    baseline: str
    paired: PairedDifference
    string_match: PairedDifference


@dataclass(frozen=True, slots=True)
class Summary:
    """A finished run's results. Fields of stages that the run did not reach are empty or None.

    The run took `seconds`, which is little if everything was cached. `making` is the cost of all that it uses.
    `document` is the whole content of summary.json, which also describes every benchmark and its prompt.
    """

    run: str
    preset: str
    seconds: float
    making: Making
    stages: dict[str, StageSummary]
    fingerprints: dict[str, str]
    yields: Yield
    signal: SignalSummary | None
    training: TrainingSummary | None
    rounds: tuple[Round, ...]
    costs: dict[str, Cost]
    scores: tuple[BenchmarkScore, ...]
    differences: tuple[NamedDifference, ...]
    engines: dict[str, tuple[str, ...]]
    versions: dict[str, str]
    document: dict[str, Any]

    def score(self, benchmark: str, model: str) -> BenchmarkScore:
        """The score of one model on one benchmark.

        Raises:
            KeyError: the run did not evaluate this model on this benchmark.
        """
        scores = {(s.benchmark, s.model): s for s in self.scores}
        return scores[benchmark, model]

    def difference(self, benchmark: str, model: str, baseline: str = "base") -> NamedDifference:
        """The paired difference of two models on one benchmark.

        Raises:
            KeyError: the run did not compare these models on this benchmark.
        """
        differences = {(d.benchmark, d.model, d.baseline): d for d in self.differences}
        return differences[benchmark, model, baseline]


def read_summary(run: Run) -> Summary:
    """Read the summary of a finished run.

    Raises:
        ConfigError: the run is not finished, or summary.json is damaged.
    """
    if not run.is_finished():
        raise ConfigError(f"run {run.name} is not finished\n  remedy: run it again; everything it has made is reused")
    document = run.load_summary()
    return Summary(
        run=document["run"],
        preset=document["preset"],
        seconds=document["seconds"],
        making=_record(Making, document["making"]),
        stages={name: _record(StageSummary, stage) for name, stage in document["stages"].items()},
        fingerprints=document["fingerprints"],
        yields=_record(Yield, document["yield"]),
        signal=_record(SignalSummary, document["signal"]) if document["signal"] else None,
        training=_record(TrainingSummary, document["training"]) if document["training"] else None,
        rounds=tuple(_record(Round, r) for r in document["rounds"]),
        costs={method: _record(Cost, cost) for method, cost in document["costs"].items()},
        scores=tuple(_scores(document["benchmarks"])),
        differences=tuple(_differences(document["benchmarks"])),
        engines={stage: tuple(names) for stage, names in document["engines"].items()},
        versions=document["versions"],
        document=document,
    )


def _scores(benchmarks: Mapping[str, Any]) -> Iterator[BenchmarkScore]:
    """The scores by benchmark and model. summary.json omits the seeds of a model that has only one."""
    for name, benchmark in benchmarks.items():
        shared = {"benchmark": name, "n": benchmark["n"], "samples": benchmark["samples"]}
        for model, score in benchmark["models"].items():
            one_seed = {"seeds": (score["accuracy"],), "seed_sd": 0.0}
            yield _record(BenchmarkScore, shared | {"model": model} | one_seed | score)


def _differences(benchmarks: Mapping[str, Any]) -> Iterator[NamedDifference]:
    """The differences by benchmark. A key is ``MODEL-BASELINE``, and the names of both may contain hyphens."""
    for name, benchmark in benchmarks.items():
        pairs = {f"{a}-{b}": (a, b) for a in benchmark["models"] for b in benchmark["models"] if a != b}
        for key, difference in benchmark["paired"].items():
            paired, literal = (_record(PairedDifference, d) for d in (difference, difference["string_match"]))
            yield NamedDifference(name, *pairs[key], paired, literal)


def _record(kind: type[R], values: Mapping[str, Any]) -> R:
    """A record from a JSON object: lists become tuples, and keys that are not fields are ignored."""
    known = {f.name: values[f.name] for f in fields(kind) if f.name in values}  # type: ignore[arg-type]
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in known.items()})
