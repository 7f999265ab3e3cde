"""The work that the requests of a plan still take: samples, tokens, time and disk.

Lengths, speeds and yields are those of the model's earlier requests in the store (`rates`). Where it has none, a
completion counts with its token cap, every problem gives a pair, every solution a trace, and the time follows from
fixed rates (`TOKENS_PER_SECOND`, `ANSWERS_PER_SECOND`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from itertools import islice

from ..models import Shape
from ..prompts import tutor_messages
from ..stages import Spec, distill, evaluate, finished, merge, rollouts, select, teach
from ..stages.baselines import grpo
from ..store import Manifest, Store
from . import disk_estimate
from .amounts import NOTHING, UNKNOWN, Amount, Amounts, about, at_most
from .disk_estimate import ROW, Lengths
from .pipeline import Pipeline
from .rates import Rates
from .recipes import Recipes
from .remains import Remains

TOKENS_PER_SECOND = 1000
ANSWERS_PER_SECOND = 100
BYTES_PER_SECOND = 100e6
PROMPTS = 64  # problems of which prompts are measured
SAMPLING = (("rollouts", ""), ("teach", "solutions"), ("evaluate", ""))
WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}


class Forecast:
    """Estimates for the requests of one pipeline. `load_shape` gives the model's sizes, if they can be known."""

    def __init__(self, pipeline: Pipeline, store: Store, load_shape: Callable[[], Shape | None]) -> None:
        self.pipeline, self.store, self.config = pipeline, store, pipeline.config
        self.rates = Rates(Recipes(store), pipeline.model.identity, pipeline.config.execution.engine)
        self._shape = lru_cache(maxsize=None)(load_shape)
        self._known_until: dict[int, int] = {}

    def count_taught(self, taught: Sequence[teach.Spec]) -> int:
        """The number of traces that requests taught, or will teach.

        If nothing is known of the yield, the target counts as reached when all problems are sampled.
        """
        for sampled in (t.solutions.select.rollouts for t in taught if not self._finished(t)):
            self._known_until.setdefault(sampled.round, sampled.stop)
        traces = [self.traces(t) for t in taught]
        if all(t.certainty != "at most" for t in traces):
            return round(sum(t.value for t in traces))
        sampled = taught[-1].solutions.select.rollouts
        return self.config.target_traces if sampled.stop >= len(self.pipeline.problems) else 0

    def known_until(self, round_: int) -> float:
        """The number of problems that a round samples for certain. More depend on a yield that is not known yet."""
        return self._known_until.get(round_, math.inf)

    @property
    def taught_per_problem(self) -> float | None:
        """The share of problems that teach a trace, as far as the store knows."""
        mixed, taught = self.rates.of("select").per("rows", "mixed"), self.rates.of("teach", "solutions")
        share = taught.per("rows", "taught")
        return None if mixed is None or share is None else mixed * share

    def amounts(self, spec: Spec, found: Remains, again: bool = False) -> Amounts:
        """The work that is left of a request, of which the store has what was `found`; of all of it if made `again`."""
        if found.share == 1 and not again and found.part != "solutions":
            return NOTHING
        left = Amount(1) if again or not found.share else about(1 - found.share)
        match spec:
            case rollouts.Spec():
                samples = left * ((spec.stop - spec.start) * spec.rollouts.samples)
                return self._sampled("rollouts", "", samples, spec.rollouts.max_new_tokens, self._prompt_bytes + ROW)
            case select.Spec():
                return self._graded(left * (spec.rollouts.stop - spec.rollouts.start))
            case teach.Spec():
                return self._taught(spec, left, found.part == "solutions", again)
            case evaluate.Spec():
                samples = left * (len(spec.load_problem_set()) * spec.samples)
                return self._sampled("evaluate", "", samples, spec.decoding.max_new_tokens, ROW)
            case grpo.Spec():
                return self._rewarded(spec)
            case merge.Spec():
                return self._merged()
            case distill.Spec():
                return self._trained(spec)
        return NOTHING

    def pairs(self, spec: select.Spec) -> Amount:
        """The number of mixed problems."""
        if (known := self._count(spec, "mixed")) is not None:
            return known
        problems = spec.rollouts.stop - spec.rollouts.start
        rate = self.rates.of("select").per("rows", "mixed")
        return at_most(problems) if rate is None else about(rate * problems)

    def traces(self, spec: teach.Spec) -> Amount:
        """The number of solutions that are taught."""
        for request in (spec, spec.solutions):
            if (known := self._count(request, "taught")) is not None:
                return known
        rate = self.rates.of("teach", "solutions").per("rows", "taught")
        return self.pairs(spec.solutions.select) * (at_most(1) if rate is None else about(rate))

    def _count(self, spec: Spec, name: str) -> Amount | None:
        """A number of a request's manifest; an estimate if what the request was made from is not finished."""
        if manifest := self._finished(spec):
            return Amount(manifest.stats.get(name, 0))
        before = self.store.manifest(spec.recipe, spec.fingerprint)
        return about(before.stats.get(name, 0)) if before else None

    def _finished(self, spec: Spec) -> Manifest | None:
        return finished(spec, self.store)

    def _length(self, stage: str, part: str, cap: int) -> Amount:
        """Tokens of one completion."""
        unit, tokens = ("rows", "written_tokens") if part else ("samples", "tokens")
        mean = self.rates.of(stage, part).per(unit, tokens)
        return at_most(cap) if mean is None else about(min(mean, cap))

    def _seconds_per_token(self, stage: str, part: str) -> float | None:
        """The time of one sampled token, measured in this stage, or in another one that samples."""
        for place in ((stage, part), *SAMPLING):
            unit = "written_tokens" if place[1] == "solutions" else "tokens"
            if (seconds := self.rates.of(*place).seconds_per(unit)) is not None:
                return seconds
        return None

    def _sampled(self, stage: str, part: str, samples: Amount, cap: int, other_bytes: float) -> Amounts:
        """Completions of at most `cap` tokens, each with some bytes that are not its own tokens."""
        length = self._length(stage, part, cap)
        tokens = samples * length
        seconds, assumed = _time(tokens, self._seconds_per_token(stage, part), TOKENS_PER_SECOND)
        row = self._row(stage, part) or length * disk_estimate.TOKEN + Amount(other_bytes)
        return Amounts(samples, tokens, seconds, samples * row, assumed)

    def _row(self, stage: str, part: str = "") -> Amount | None:
        """Measured bytes of one row."""
        size = self.rates.of(stage, part).per("rows", "bytes")
        return None if size is None else about(size)

    def _graded(self, problems: Amount) -> Amounts:
        answers = self.config.rollouts.samples
        per_problem = self.rates.of("select").seconds_per("rows")
        seconds, assumed = _time(problems, per_problem, ANSWERS_PER_SECOND / answers)
        return Amounts(
            seconds=seconds,
            bytes=problems * (self._row("select") or at_most(answers * disk_estimate.ROW)),
            assumed=assumed,
        )

    def _taught(self, spec: teach.Spec, left: Amount, in_solutions: bool, again: bool) -> Amounts:
        """Both parts of stage teach. If its solutions are there, only their signal is left."""
        pairs = self.pairs(spec.solutions.select)
        written = Amounts()
        if again or not self._finished(spec.solutions):
            lengths, cap = Lengths.caps(self.config), spec.solutions.decoding.max_new_tokens
            other = disk_estimate.hinted_row(self._prompt_bytes, lengths) - disk_estimate.TOKEN * lengths.teach
            written = self._sampled("teach", "solutions", pairs * (left if in_solutions else 1), cap, other)
            left = Amount(1) if in_solutions else left
        return written + self._captured(spec, pairs * left, self.traces(spec) * left)

    def _captured(self, spec: teach.Spec, solutions: Amount, traces: Amount) -> Amounts:
        """The signal at the tokens of taught solutions."""
        length = self._length("teach", "solutions", spec.solutions.decoding.max_new_tokens)
        tokens, measured = traces * length, self.rates.of("teach", "signal")
        seconds, assumed = _time(tokens, measured.seconds_per("tokens"), TOKENS_PER_SECOND)
        size = measured.per("tokens", "bytes") if self._is_same_signal(spec) else None
        shape = self._shape() if size is None else None
        if size is not None:
            stored = tokens * about(size)
        elif shape:
            row = disk_estimate.hinted_row(self._prompt_bytes, Lengths.caps(self.config)) + disk_estimate.WIDE_ROW
            vector = disk_estimate.signal_bytes(self.config, shape.hidden_size, shape.vocabulary)
            stored = tokens * about(vector) + solutions * at_most(row)
        else:
            stored = UNKNOWN
        return Amounts(seconds=seconds, bytes=stored, assumed=assumed)

    def _is_same_signal(self, spec: teach.Spec) -> bool:
        """Whether the signal that was measured has the codec that is planned."""
        stored = self.rates.recipes.stored("teach").values()
        codecs = {(c["codec"], c.get("k")) for r in stored if "codec" in (c := r.content)}
        return codecs == {(spec.codec, spec.kept.get("k"))}

    def _trained(self, spec: distill.Spec) -> Amounts:
        """A student of the traces that its requests teach, at most `limit` of them."""
        traces = sum((self.traces(t) for t in spec.teach), Amount())
        traces = Amount(max(0, min(traces.value, spec.limit) - spec.distill.held_out), traces.certainty)
        batches = Amount(math.ceil(traces.value / spec.distill.batch_size), traces.certainty)
        passes = batches * (spec.distill.batch_size * spec.distill.epochs)
        kinds = (spec.stage, "distill", "sft", "rft", "ssb-no-wrong")
        measured = next((s for k in kinds if (s := self.rates.of(k).seconds_per("passes")) is not None), None)
        length = self._length("teach", "solutions", spec.teach[0].solutions.decoding.max_new_tokens)
        if measured is None:
            seconds, assumed = _time(passes * length, None, TOKENS_PER_SECOND)
        else:
            seconds, assumed = _time(passes, measured, 1)
        return Amounts(seconds=seconds, bytes=self._adapter, assumed=assumed)

    def _rewarded(self, spec: grpo.Spec) -> Amounts:
        """Baseline grpo: it samples every problem in every epoch."""
        samples = Amount((spec.stop - spec.start) * spec.grpo.epochs * spec.grpo.samples)
        tokens = samples * self._length("rollouts", "", spec.grpo.max_new_tokens)
        seconds, assumed = _time(tokens, self.rates.of("grpo").seconds_per("tokens"), TOKENS_PER_SECOND)
        return Amounts(samples, tokens, seconds, self._adapter, assumed)

    def _merged(self) -> Amounts:
        shape = self._shape()
        size = Amount(shape.parameters * WIDTHS[self.config.model.dtype]) if shape else UNKNOWN
        seconds, assumed = _time(size, self.rates.of("merge").seconds_per("bytes"), BYTES_PER_SECOND)
        return Amounts(seconds=seconds, bytes=size, assumed=assumed)

    @property
    def _adapter(self) -> Amount:
        shape = self._shape()
        if shape is None:
            return UNKNOWN
        return about(disk_estimate.adapter_bytes(self.config, shape.lora_width) + disk_estimate.ADAPTER_FILES)

    @cached_property
    def _prompt_bytes(self) -> int:
        """Bytes of a student's prompt, as a mean over the first problems."""
        first = [p.question for p in islice(self.pipeline.problems, PROMPTS)]
        messages = (tutor_messages(question, self.config.prompts.few_shot) for question in first)
        return sum(len(m["content"].encode()) for prompt in messages for m in prompt) // len(first)


def _time(units: Amount, seconds_per_unit: float | None, units_per_second: float) -> tuple[Amount, bool]:
    """The time for so many units, measured or at an assumed speed, and whether it is assumed.

    No time is exact.
    """
    assumed = seconds_per_unit is None and units.value > 0
    seconds = units * (1 / units_per_second if seconds_per_unit is None else seconds_per_unit)
    return seconds + about(0), assumed
