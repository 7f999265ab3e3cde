"""From a `RunConfig` to the requests of its stages, and from their yield to the next wave.

Problems are sampled in waves until `target_traces` are taught. The next wave is sized from the yield
seen so far, which is the same whenever the same configuration runs, so waves are cached like everything else.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .. import engines, models, problems, prompts
from ..config import RunConfig, refuse_missing
from ..stages import STAGES, Spec, distill, evaluate, merge, required, rollouts, select, teach
from ..stages.baselines import ABLATIONS, Student, grpo, ssb_no_wrong
from ..store import Store

WAVE_STEP = 32  # waves are this many problems or a multiple, whatever the shard size, which must not change results
MARGIN = 1.1  # a wave asks for a little more than the yield says, so that another is rarely needed


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a stage, and what people call it."""

    spec: Spec
    label: str


@dataclass(frozen=True, slots=True)
class Wave:
    """One wave's requests."""

    rollouts: rollouts.Spec
    select: select.Spec
    teach: teach.Spec


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The requests that a configuration stands for."""

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
            ConfigError: the model, the problems or a benchmark cannot be had.
        """
        refuse_missing(config.execution)
        if "grpo" in config.baselines:
            grpo.refuse_missing()
        pipeline = cls(config, models.resolve(config.model, store_root), problems.load(config.problems))
        for request in pipeline.evaluations(None):
            request.problem_set  # noqa: B018  reading it is the check
        return pipeline

    def check_model(self, weights: bool = True) -> None:
        """Try the model's configuration, tokenizer and context on the first problem of every set, and the engine.

        Raises:
            ConfigError: the model cannot be used, or a token cap leaves no room for the prompt.
        """
        c = self.config
        first = prompts.tutor_messages(self.problems[0].question, c.prompts.few_shot)
        wanted = {"rollouts.max_new_tokens": (first, c.rollouts.max_new_tokens)}
        wanted["teach.max_new_tokens"] = (first, c.teach.max_new_tokens)
        if "grpo" in c.baselines:
            wanted["grpo.max_new_tokens"] = (first, c.grpo.max_new_tokens)
        for request in self.evaluations(None):
            asked = prompts.tutor_messages(request.problem_set[0].question, request.few_shot)
            cap = request.decoding.max_new_tokens
            wanted[f"evaluate.max_new_tokens (on {request.benchmark.name})"] = (asked, cap)
        models.check(self.model, c.execution.device, wanted)
        if weights:
            models.check_weights(self.model)
        engines.check(c.execution)

    def walk(self, store: Store, stop: str = "evaluate") -> Iterator[Request]:
        """Requests in the order they run, up to stage `stop`; each must be finished before the next is asked for.

        A further round begins where the one before left a student, and ends them all if it teaches nothing to train on.
        A run that stops before teach has no yield to go by, so it is one wave.
        """
        through = STAGES[: STAGES.index(stop) + 1]
        waves = yield from self._waves(store, through)
        if "teach" not in through or (self.merged and _taught(waves, store) <= self.config.distill.held_out):
            return
        students: list[Student] = []
        for student in self.students(waves):
            if student.stage in through and (yield from self._own_teacher(student, students, store)):
                students.append(student)
                yield Request(student, f"{student.stage}{self._round}{self._of_seed(student)}")
        if "evaluate" in through:
            for one in (*([] if self.merged else [None]), *students):
                for evaluation in self.evaluations(one):
                    seed = self._of_seed(one) if one else ""
                    where = evaluation.benchmark.name
                    yield Request(evaluation, f"evaluate {evaluation.model_name} on {where}{seed}")
        if "merge" in through and (first := students[0]).round < self.config.rounds:
            merged = merge.Spec(student=first, execution=self.config.execution)
            yield Request(merged, f"merge{self._round}")
            yield from replace(self, model=merged.model(store), merged=merged).walk(store, stop)

    def _own_teacher(self, student: Student, before: Sequence[Student], store: Store) -> Generator[Request, None, bool]:
        """Requests of the teacher that only this baseline has, once for all seeds; whether it taught enough."""
        if not isinstance(student, ssb_no_wrong.Spec):
            return True
        if not any(isinstance(s, ssb_no_wrong.Spec) for s in before):
            for number, request in enumerate(student.teach, 1):
                yield Request(request, f"teach wave {number} without the wrong rollout")
        taught: int = sum(required(t, store).stats.get("taught", 0) for t in student.teach)
        return taught > self.config.distill.held_out

    def _waves(self, store: Store, through: Sequence[str]) -> Generator[Request, None, list[Wave]]:
        """The requests of one wave after the other, as far as `through`; returns the waves."""
        waves: list[Wave] = []
        while (wave := self.next_wave(waves, _taught(waves, store))) is not None:
            waves.append(wave)
            for spec in (wave.rollouts, wave.select, wave.teach):
                if spec.stage in through:
                    yield Request(spec, f"{spec.stage} wave {len(waves)}{self._round}")
            if "teach" not in through:
                break
        return waves

    @property
    def _round(self) -> str:
        """What tells the requests of rounds apart."""
        return f" (round {self.merged.round + 1 if self.merged else 1})" if self.config.rounds > 1 else ""

    def _of_seed(self, student: Student) -> str:
        """What tells students of one method apart."""
        return f" (seed {student.names['seed']})" if self.config.seeds > 1 else ""

    def next_wave(self, waves: Sequence[Wave], taught: int) -> Wave | None:
        """The wave to follow `waves`, which taught `taught` traces; None when that is enough or problems ran out."""
        start = waves[-1].rollouts.stop if waves else 0
        missing = self.config.target_traces - taught
        if missing <= 0 or start >= len(self.problems):
            return None
        if not waves:
            wanted: float = missing  # a problem teaches one trace at most, so this cannot be too much
        else:
            wanted = MARGIN * missing * start / taught if taught else 2 * start
        stop = min(start + WAVE_STEP * math.ceil(wanted / WAVE_STEP), len(self.problems))
        return self.wave(start, stop)

    def wave(self, start: int, stop: int) -> Wave:
        c = self.config
        sampled = rollouts.Spec(
            model=self.model,
            problems=c.problems,
            start=start,
            stop=stop,
            rollouts=c.rollouts,
            few_shot=c.prompts.few_shot,
            merged=self.merged,
            execution=c.execution,
        )
        selected = select.Spec(rollouts=sampled, select=c.select, execution=c.execution)
        shown = c.prompts.few_shot if c.prompts.teach_few_shot else ()
        return Wave(sampled, selected, teach.Spec.of(selected, c.teach, c.distill.temperature, shown))

    def distillation(self, waves: Sequence[Wave]) -> distill.Spec:
        c = self.config
        taught = tuple(w.teach for w in waves)
        return distill.Spec(teach=taught, limit=c.target_traces, distill=c.distill, execution=c.execution)

    def students(self, waves: Sequence[Wave]) -> list[Student]:
        """The student and the baselines, each with every training seed; in later rounds the student alone."""
        first = self.distillation(waves)
        if self.merged:
            return [first]
        methods: list[Student] = [first]
        for name in self.config.baselines:
            methods.append(grpo.of(first, self.config.grpo) if name == "grpo" else ABLATIONS[name].of(first))
        return [_seeded(student, i) for student in methods for i in range(self.config.seeds)]

    def evaluations(self, student: Student | None) -> list[evaluate.Spec]:
        """One request per benchmark, of the base or of `student`."""
        c = self.config
        return [
            evaluate.Spec(
                model=self.model,
                student=student,
                benchmark=b,
                decoding=c.evaluate.decoding(b),
                samples=c.evaluate.samples_of(b),
                few_shot=c.prompts.few_shot if b.few_shot else (),
                execution=c.execution,
            )
            for b in c.evaluate.asked
        ]


def _taught(waves: Sequence[Wave], store: Store) -> int:
    """Traces that finished waves taught."""
    return sum(required(w.teach, store).stats.get("taught", 0) for w in waves)


def _seeded(student: Student, i: int) -> Student:
    """The same student from the training seed that lies `i` behind."""
    name = "grpo" if isinstance(student, grpo.Spec) else "distill"
    config = getattr(student, name)
    return student.model_copy(update={name: config.model_copy(update={"seed": config.seed + i})})
