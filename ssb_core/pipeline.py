"""From a `RunConfig` to the requests of its stages, and from their yield to the next wave.

Problems are sampled in waves until `target_traces` are taught. The next wave is sized from the yield
seen so far, which is the same whenever the same configuration runs, so waves are cached like everything else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import engines, models, problems, prompts
from .config import Decoding, RunConfig, refuse_missing
from .records import Problem
from .stages import STAGES, Spec, distill, evaluate, required, rollouts, select, teach
from .store import Store

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
    problems: tuple[Problem, ...]

    @classmethod
    def of(cls, config: RunConfig, store_root: Path) -> Pipeline:
        """Resolve the model and read every problem set, so that bad input is refused before any work.

        A GGUF model will be converted below `store_root`; nothing is written yet.

        Raises:
            ConfigError: the model, the problems or a benchmark cannot be had.
        """
        refuse_missing(config.execution.report_to)
        pipeline = cls(config, models.resolve(config.model, store_root), problems.load(config.problems))
        for request in pipeline.evaluations(None):
            request.problem_set  # noqa: B018  reading it is the check
        return pipeline

    def check_model(self) -> None:
        """Try the model's configuration, tokenizer and context on the first problem of every set, and the engine.

        Raises:
            ConfigError: the model cannot be used, or a token cap leaves no room for the prompt.
        """
        c = self.config
        first = prompts.tutor_messages(self.problems[0].question, c.prompts.few_shot)
        wanted = {"rollouts.max_new_tokens": (first, c.rollouts.max_new_tokens)}
        wanted["teach.max_new_tokens"] = (first, c.teach.max_new_tokens)
        for request in self.evaluations(None):
            asked = prompts.tutor_messages(request.problem_set[0].question, request.few_shot)
            wanted[f"evaluate.max_new_tokens (on {request.benchmark.name})"] = (asked, c.evaluate.max_new_tokens)
        models.check(self.model, c.execution.device, wanted)
        engines.check(c.execution)

    def walk(self, store: Store, stop: str = "evaluate") -> Iterator[Request]:
        """Requests in the order they run, up to stage `stop`; each must be finished before the next is asked for.

        A run that stops before teach has no yield to go by, so it is one wave.
        """
        through = STAGES[: STAGES.index(stop) + 1]
        waves: list[Wave] = []
        taught = 0
        while (wave := self.next_wave(waves, taught)) is not None:
            waves.append(wave)
            for spec in (wave.rollouts, wave.select, wave.teach):
                if spec.stage in through:
                    yield Request(spec, f"{spec.stage} wave {len(waves)}")
            if "teach" not in through:
                return
            taught += required(wave.teach, store).facts.get("taught", 0)
        student = self.distillation(waves)
        if "distill" in through:
            yield Request(student, "distill")
        if "evaluate" in through:
            for evaluation in (*self.evaluations(None), *self.evaluations(student)):
                yield Request(evaluation, f"evaluate {evaluation.model_name} on {evaluation.benchmark.name}")

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
            execution=c.execution,
        )
        selected = select.Spec(rollouts=sampled, select=c.select, execution=c.execution)
        shown = c.prompts.few_shot if c.prompts.teach_few_shot else ()
        return Wave(sampled, selected, teach.Spec.of(selected, c.teach, c.distill.temperature, shown))

    def distillation(self, waves: Sequence[Wave]) -> distill.Spec:
        c = self.config
        taught = tuple(w.teach for w in waves)
        return distill.Spec(teach=taught, limit=c.target_traces, distill=c.distill, execution=c.execution)

    def evaluations(self, student: distill.Spec | None) -> list[evaluate.Spec]:
        """One request per benchmark, of the base or of `student`."""
        c = self.config
        return [
            evaluate.Spec(
                model=self.model,
                student=student,
                benchmark=b,
                decoding=Decoding.model_validate(c.evaluate.recipe),
                samples=c.evaluate.samples,
                few_shot=c.prompts.few_shot if b.few_shot else (),
                execution=c.execution,
            )
            for b in c.evaluate.asked
        ]
