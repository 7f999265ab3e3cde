"""From a `RunConfig` to the requests of its stages, and from their yield to the next wave.

Problems are sampled in waves until `target_traces` are taught. The size of the next wave follows from the yield so far,
which is the same whenever the same configuration runs. So waves are cached like everything else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from .. import engines, models, problems, prompts
from ..config import RunConfig, require_packages
from ..stages import STAGES, Spec, distill, evaluate, merge, required, rollouts, select, teach
from ..stages.baselines import ABLATIONS, Student, grpo, ssb_no_wrong
from ..store import Store

WAVE_STEP = 32  # a wave has a multiple of this many problems; results depend on it, so it is not the shard size
MARGIN = 1.1  # a wave asks for a little more than the yield says, so that another is rarely needed

CountTaught = Callable[[Sequence[teach.Spec]], int]
"""The number of traces that requests taught. A plan estimates those of unfinished requests."""


@dataclass(frozen=True, slots=True)
class Step:
    """One request of a run, and its label for people."""

    spec: Spec
    label: str


class Walk(Protocol):
    """Steps that follow from a configuration: those of a whole pipeline, or of an evaluation alone."""

    @property
    def config(self) -> RunConfig:
        """The configuration, which the run's folder holds."""
        ...

    def walk(self, store: Store, stop: str = "evaluate") -> Iterator[Step]:
        """Steps in the order in which they run. The caller finishes each before it takes the next."""
        ...


@dataclass(frozen=True, slots=True)
class WaveSpecs:
    """The requests of one wave."""

    rollouts: rollouts.Spec
    select: select.Spec
    teach: teach.Spec


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The requests that follow from a configuration."""

    config: RunConfig
    model: models.ResolvedModel
    problems: problems.ProblemSet
    merged: merge.Spec | None = None
    """The request that makes `model`, in rounds after the first."""

    @classmethod
    def of(cls, config: RunConfig, store_root: Path) -> Pipeline:
        """Resolve the model and read every problem set, so that bad input is refused before any work.

        A GGUF model will be converted below `store_root`; nothing is written yet.

        Raises:
            ConfigError: the model, the problems or a benchmark cannot be read.
        """
        require_packages(config.execution)
        if "grpo" in config.baselines:
            grpo.refuse_missing_trl()
        pipeline = cls(config, models.resolve(config.model, store_root), problems.load_problems(config.problems))
        pipeline.evaluations(None)  # reads every benchmark
        return pipeline

    def check_model(self, weights: bool = True) -> None:
        """Try the model's configuration, tokenizer and context on the first problem of every set, and the engine.

        Raises:
            ConfigError: the model cannot be used, or a token cap leaves no room for the prompt.
        """
        c = self.config
        first = prompts.tutor_messages(self.problems[0].question, c.prompts.few_shot)
        caps = {"rollouts.max_new_tokens": (first, c.rollouts.max_new_tokens)}
        caps["teach.max_new_tokens"] = (first, c.teach.max_new_tokens)
        if "grpo" in c.baselines:
            caps["grpo.max_new_tokens"] = (first, c.grpo.max_new_tokens)
        models.check(self.model, c.execution.device, caps | evaluation_caps(self.evaluations(None)))
        if weights:
            models.check_weights(self.model)
        engines.check(c.execution)

    def walk(self, store: Store, stop: str = "evaluate", count_taught: CountTaught | None = None) -> Iterator[Step]:
        """Steps in the order in which they run, up to stage `stop`. The caller finishes each before it takes the next.

        A further round begins with the student of the round before. It is the last if it teaches nothing to train on. A
        run that stops before teach has no yield, so it has only one wave. With its own `count_taught`, which estimates
        the yield of unfinished requests, a caller can look ahead and need not finish any step.
        """
        through = STAGES[: STAGES.index(stop) + 1]
        count = count_taught or partial(taught_traces, store)
        waves = yield from self._waves(count, through)
        if "teach" not in through or (self.merged and count([w.teach for w in waves]) <= self.config.distill.held_out):
            return
        students: list[Student] = []
        for student in self.students(waves):
            if student.stage in through and (yield from self._own_teacher(student, students, count)):
                students.append(student)
                yield Step(student, f"{student.stage}{self._round}{self._of_seed(student)}")
        if "evaluate" in through:
            for evaluated in (*([] if self.merged else [None]), *students):
                for spec in self.evaluations(evaluated):
                    seed = self._of_seed(evaluated) if evaluated else ""
                    yield Step(spec, f"evaluate {spec.model_name} on {spec.benchmark.name}{seed}")
        if "merge" in through and (first := students[0]).round < self.config.rounds:
            merged = merge.Spec(student=first, execution=self.config.execution)
            yield Step(merged, f"merge{self._round}")
            yield from replace(self, model=merged.model(store), merged=merged).walk(store, stop, count_taught)

    def _own_teacher(
        self, student: Student, before: Sequence[Student], count: CountTaught
    ) -> Generator[Step, None, bool]:
        """Steps of the teacher that only ssb-no-wrong has, once for all seeds. Returns whether it taught enough."""
        if not isinstance(student, ssb_no_wrong.Spec):
            return True
        if not any(isinstance(s, ssb_no_wrong.Spec) for s in before):
            for number, spec in enumerate(student.teach, 1):
                yield Step(spec, f"teach wave {number} without the wrong rollout")
        return count(student.teach) > self.config.distill.held_out

    def _waves(self, count: CountTaught, through: Sequence[str]) -> Generator[Step, None, list[WaveSpecs]]:
        """The steps of one wave after the other, as far as `through`. Returns the waves."""
        waves: list[WaveSpecs] = []
        while (wave := self.next_wave(waves, count([w.teach for w in waves]))) is not None:
            waves.append(wave)
            for spec in (wave.rollouts, wave.select, wave.teach):
                if spec.stage in through:
                    yield Step(spec, f"{spec.stage} wave {len(waves)}{self._round}")
            if "teach" not in through:
                break
        return waves

    @property
    def _round(self) -> str:
        """The end of a label that tells rounds apart."""
        return f" (round {self.merged.round + 1 if self.merged else 1})" if self.config.rounds > 1 else ""

    def _of_seed(self, student: Student) -> str:
        """The end of a label that tells the students of one method apart."""
        return f" (seed {student.labels['seed']})" if self.config.seeds > 1 else ""

    def next_wave(self, waves: Sequence[WaveSpecs], taught: int) -> WaveSpecs | None:
        """The wave after `waves`, which taught `taught` traces; None if that is enough or no problems are left."""
        start = waves[-1].rollouts.stop if waves else 0
        missing = self.config.target_traces - taught
        if missing <= 0 or start >= len(self.problems):
            return None
        if not waves:
            needed: float = missing  # a problem teaches one trace at most, so this cannot be too many
        else:
            needed = MARGIN * missing * start / taught if taught else 2 * start
        stop = min(start + WAVE_STEP * math.ceil(needed / WAVE_STEP), len(self.problems))
        return self.wave(start, stop)

    def wave(self, start: int, stop: int) -> WaveSpecs:
        """The requests for problems `start` to `stop`."""
        c = self.config
        sampled = rollouts.Spec(
            model=self.model,
            problems=c.problems,
            start=start,
            stop=stop,
            problems_digest=self.problems.part(start, stop).content_digest(),
            rollouts=c.rollouts,
            few_shot=c.prompts.few_shot,
            merged=self.merged,
            execution=c.execution,
        )
        selected = select.Spec(rollouts=sampled, select=c.select, execution=c.execution)
        few_shot = c.prompts.few_shot if c.prompts.teach_few_shot else ()
        return WaveSpecs(sampled, selected, teach.Spec.of(selected, c.teach, c.distill.temperature, few_shot))

    def distillation(self, waves: Sequence[WaveSpecs]) -> distill.Spec:
        """The request for the student of the given waves."""
        c = self.config
        taught = tuple(w.teach for w in waves)
        return distill.Spec(teach=taught, limit=c.target_traces, distill=c.distill, execution=c.execution)

    def students(self, waves: Sequence[WaveSpecs]) -> list[Student]:
        """The student and the baselines, each with every training seed; in later rounds the student alone."""
        first = self.distillation(waves)
        if self.merged:
            return [first]
        methods: list[Student] = [first]
        for name in self.config.baselines:
            methods.append(grpo.of(first, self.config.grpo) if name == "grpo" else ABLATIONS[name].of(first))
        return [_seeded(student, i) for student in methods for i in range(self.config.seeds)]

    def evaluations(self, student: Student | None) -> list[evaluate.Spec]:
        """One request for each benchmark, of the base or of `student`.

        Raises:
            ConfigError: a benchmark cannot be read.
        """
        return evaluations(self.config, self.model, student)


def evaluations(
    config: RunConfig, model: models.ResolvedModel, student: Student | None, adapter: models.Adapter | None = None
) -> list[evaluate.Spec]:
    """One request for each benchmark of a configuration, of `model` alone or with the weights of a student or adapter.

    Raises:
        ConfigError: a benchmark cannot be read.
    """
    return [
        evaluate.Spec(
            model=model,
            student=student,
            adapter=adapter,
            benchmark=b,
            problems_digest=problems.load_problems(b).content_digest(),
            decoding=config.evaluate.decoding(b),
            samples=config.evaluate.samples_of(b),
            few_shot=config.prompts.few_shot if b.few_shot else (),
            execution=config.execution,
        )
        for b in config.evaluate.limited_benchmarks()
    ]


def evaluation_caps(specs: Sequence[evaluate.Spec]) -> dict[str, tuple[prompts.Messages, int]]:
    """For each token cap of evaluations its field, the first prompt, and the cap, as `models.check` takes them."""
    return {
        f"evaluate.max_new_tokens (on {s.benchmark.name})": (
            prompts.tutor_messages(s.load_problem_set()[0].question, s.few_shot),
            s.decoding.max_new_tokens,
        )
        for s in specs
    }


def taught_traces(store: Store, taught: Sequence[teach.Spec]) -> int:
    """The number of traces that finished requests taught.

    Raises:
        StoreError: one of them is not finished.
    """
    return sum(required(t, store).stats.get("taught", 0) for t in taught)


def _seeded(student: Student, i: int) -> Student:
    """The same student, trained with the seed that is larger by `i`."""
    name = "grpo" if isinstance(student, grpo.Spec) else "distill"
    config = getattr(student, name)
    return student.model_copy(update={name: config.model_copy(update={"seed": config.seed + i})})
