"""How long a whole run still takes: an estimate that is made again while the run goes on.

The work that is left follows from the configuration and, for waves to come, from the yield so far. A unit of it (a
sample, a solution, a training step) takes as long as the units of the same kind that this run made. For a kind that
this run has not made yet, the time follows from that of all others: a training step counts as so many samples.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator

from ..stages import STAGES, evaluate, finished, rollouts
from ..store import Store
from .pipeline import Pipeline, Step
from .run import StageRun

EXPECTED_YIELD = 0.5  # the share of problems that teach a trace, as long as no wave has shown it
TRAINED = 2.0  # samples that take as long as training on one trace once; on nano it was 2.2
SAMPLED = ("rollouts", "teach", "evaluate")  # the units of these stages are rows
Kind = tuple[str, str]
"""A stage, and what tells its requests apart: the benchmark, or the baseline that has its own teacher."""


class Outlook:
    """The work of one run: what is done, what is left, and the time of a unit."""

    def __init__(self, pipeline: Pipeline, store: Store, stop: str, force: Collection[str]) -> None:
        """Count the work of a run up to stage `stop`, without evaluations of the base that the store has already."""
        self.config, self.problems = pipeline.config, len(pipeline.problems)
        self.through = STAGES[: STAGES.index(stop) + 1]
        base = pipeline.evaluations(None)
        self.answers = {s.benchmark.name: len(s.load_problem_set()) * s.samples for s in base}
        self.base_left = {s.benchmark.name for s in base if "evaluate" in force or not finished(s, store)}
        self.round, self.sampled, self.taught, self.open_wave = 1, 0, 0, 0
        self.yielded = 0, 0  # traces that all waves so far taught, and their problems
        self.begun: Counter[Kind] = Counter()  # requests of this round, without evaluations of the base
        self.made: defaultdict[Kind, float] = defaultdict(float)
        self.seconds: defaultdict[Kind, float] = defaultdict(float)

    def begin(self, step: Step) -> Kind:
        """A step begins. Returns the kind of its work."""
        spec, labels = step.spec, step.spec.labels
        kind = spec.stage, str(labels.get("benchmark") or (spec.stage == "teach" and labels.get("model")) or "")
        if spec.round > self.round:
            self.round, self.sampled, self.taught = spec.round, 0, 0
            self.begun.clear()
        if isinstance(spec, evaluate.Spec) and spec.student is None:
            self.base_left.discard(spec.benchmark.name)
        else:
            self.begun[kind] += 1
        if isinstance(spec, rollouts.Spec):
            self.open_wave = spec.stop - spec.start
            self.sampled += self.open_wave
        return kind

    def end(self, kind: Kind, happened: StageRun, taught: int = 0) -> None:
        """A step has ended; `taught` traces were taught, if it is one of stage teach."""
        if kind == ("teach", ""):
            self.taught += taught
            self.yielded = self.yielded[0] + taught, self.yielded[1] + self.open_wave
            self.open_wave = 0
        if happened.made and happened.seconds:
            units = happened.made + happened.reused
            self.made[kind] += happened.rows * happened.made / units if kind[0] in SAMPLED else happened.made
            self.seconds[kind] += happened.seconds

    def seconds_left(self, kind: Kind, done: float, seconds: float) -> float | None:
        """The seconds that the run takes after its current step, whose first `done` units took so many `seconds`.

        None as long as this run has made nothing.
        """
        made, spent = self.made.copy(), self.seconds.copy()
        if done:
            made[kind] += done
            spent[kind] += seconds
        if not (samples := sum(n * self._weight(k) for k, n in made.items())):
            return None
        sample = sum(spent.values()) / samples
        left = [(k, n) for k, n in self._left() if k[0] in self.through]
        return sum(n * (spent[k] / made[k] if made[k] else sample * self._weight(k)) for k, n in left)

    def _weight(self, kind: Kind) -> float:
        """A unit of this kind in samples."""
        if kind[0] in SAMPLED:
            return 1.0
        if kind[0] == "grpo":
            return self.config.grpo.prompts_per_step * self.config.grpo.samples * (1 + TRAINED)
        return self.config.distill.batch_size * TRAINED if kind[0] not in ("select", "merge") else 0.0

    def _left(self) -> Iterator[tuple[Kind, float]]:
        """The work after the current step, by kind."""
        for benchmark in self.base_left:
            yield ("evaluate", benchmark), self.answers[benchmark]
        waiting = self.open_wave if self.begun["teach", ""] < self.begun["rollouts", ""] else 0
        yield from self._round_left(self.round, self.sampled, self.taught, self.open_wave, waiting, self.begun)
        for number in range(self.round + 1, self.config.rounds + 1):
            yield from self._round_left(number, 0, 0, 0, 0, Counter())

    def _round_left(
        self, number: int, sampled: int, taught: float, open_wave: int, waiting: int, begun: Counter[Kind]
    ) -> Iterator[tuple[Kind, float]]:
        """The work left of a round: `sampled` problems taught so many traces, those of the open wave not counted.

        The teacher has not begun with `waiting` problems. `begun` are the requests that need not be counted any more.
        """
        c, share = self.config, self._yield()
        taught += share * open_wave
        missing = max(0.0, c.target_traces - taught)
        more = min(missing / share if share else math.inf, self.problems - sampled) if missing else 0.0
        yield ("rollouts", ""), more * c.rollouts.samples
        yield ("teach", ""), (more + waiting) * share
        traces, students = min(c.target_traces, taught + more * share), 0
        steps = {"grpo": c.grpo.epochs * (sampled + more) / c.grpo.prompts_per_step}
        for method in ("distill", *(c.baselines if number == 1 else ())):
            each = steps.get(method, c.distill.epochs * traces / c.distill.batch_size)
            seeds = c.seeds if number == 1 else 1
            students += seeds
            yield (method, ""), max(0, seeds - begun[method, ""]) * each
        for benchmark, answers in self.answers.items():
            yield ("evaluate", benchmark), max(0, students - begun["evaluate", benchmark]) * answers

    def _yield(self) -> float:
        """The share of problems that teach a trace."""
        taught, problems = self.yielded
        return taught / problems if problems else EXPECTED_YIELD
