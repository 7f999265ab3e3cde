"""The first half of stage teach: the hinted teacher writes one robust solution for each pair (paper, section 3.2).

A solution is verified again and checked for mentions of the hint. A dropped one keeps its row, with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from .. import prompts, verify
from ..config import Decoding, Example
from ..engines import K, Sampler, SampleRequest, requests_for
from ..progress import Progress
from ..records import Completion, ContrastivePair, Drop, Rollout, Selection, TeacherTrace, Verdict
from ..store import Store, digest
from . import select
from .execute import Outcome, required
from .leaks import PATTERNS, mentions_hint
from .runtime import Input, Runtime, ShardPlan
from .sampling import Sampled, sample_and_grade
from .shards import downstream_inputs, run_shards, sampled_table
from .spec import Spec as BaseSpec

if TYPE_CHECKING:
    import pyarrow as pa


class Solutions(BaseSpec):
    """The taught solutions of one wave, without signal. With `show_wrong` the teacher sees the wrong rollout too."""

    stage: ClassVar[str] = "teach"
    version: ClassVar[int] = 2
    part: ClassVar[str] = "solutions"
    can_fan_out: ClassVar[bool] = True
    select: select.Spec
    decoding: Decoding
    few_shot: tuple[Example, ...] = ()
    show_wrong: bool = True

    def recipe_content(self) -> dict[str, Any]:
        return {
            "part": self.part,
            "select": self.select.recipe.hash,
            "prompt": digest([self.messages("", "", ""), *PATTERNS]),
            "verify": {**verify.versions(), "form": self.select.form},
            "decoding": self.decoding.recipe,
        }

    def inputs(self) -> list[str]:
        return [self.select.fingerprint]

    def messages(self, question: str, correct: str, wrong: str) -> prompts.Messages:
        """The teacher's prompt."""
        return prompts.hinted_messages(question, correct, wrong if self.show_wrong else None, self.few_shot)

    @property
    def engine_key(self) -> str:
        return self.select.rollouts.model.identity


def write(
    sampler: Sampler,
    verifier: verify.Verifier,
    shards: Iterable[tuple[K, Sequence[ContrastivePair]]],
    spec: Solutions,
    progress: Progress,
) -> Iterator[tuple[K, list[TeacherTrace]]]:
    """One hinted solution for each pair of every shard, verified, with the reason if it is dropped."""

    def ask(pair: ContrastivePair) -> list[SampleRequest]:
        messages = spec.messages(pair.problem.question, pair.correct.text, pair.wrong.text)
        return requests_for(sampler, messages, "teach", spec.decoding.seed, pair.problem.id, 1)

    def gold(pair: ContrastivePair) -> str:
        return pair.problem.answer

    for key, samples in sample_and_grade(sampler, shards, ask, spec.decoding, progress, verifier, gold):
        yield key, [_trace(sampler, sample) for sample in samples]


def _trace(sampler: Sampler, sample: Sampled[ContrastivePair]) -> TeacherTrace:
    problem, completion = sample.item.problem, sample.completion
    assert sample.verdict
    verdict = Verdict("rejected") if completion.finish_reason == "too_long" else sample.verdict
    return TeacherTrace(
        problem_id=problem.id,
        student_prompt_ids=sampler.encode(prompts.tutor_messages(problem.question)),
        teacher_prompt_ids=sample.request.prompt_ids,
        completion_ids=completion.completion_ids,
        text=completion.text,
        finish_reason=completion.finish_reason,
        seed=sample.request.seed,
        verdict=verdict,
        dropped=_why_dropped(completion, verdict, problem.question),
    )


def _why_dropped(written: Completion, verdict: Verdict, question: str) -> Drop | None:
    if written.finish_reason != "stop":
        return "truncated" if written.finish_reason == "length" else "too_long"
    if verdict.unverified:
        return "unverified"
    if verdict.status != "correct":
        return "no_answer" if verdict.status == "no_answer" else "wrong_answer"
    return "leak" if mentions_hint(written.text, question) else None


def count(table: pa.Table) -> dict[str, int]:
    """Numbers of taught solutions and of dropped ones by reason; tokens of the taught completions, and of all."""
    dropped = table["dropped"].to_pylist()
    lengths = [len(ids) for ids in table["completion_ids"].to_pylist()]
    taught = sum(n for n, d in zip(lengths, dropped, strict=True) if d is None)
    return {**Counter(d or "taught" for d in dropped), "tokens": taught, "written_tokens": sum(lengths)}


def plan_shards(spec: Solutions, store: Store, runtime: Runtime) -> ShardPlan:
    """Shards of sampled and verified solutions, one for each shard of pairs."""
    progress = runtime.progress
    selected, sampled = required(spec.select, store), required(spec.select.rollouts, store)
    inputs = downstream_inputs(selected, store, spec.select.rollouts.load_wave())
    rollouts_of = dict(zip(selected.files, sampled.files, strict=True))

    def pairs(item: Input) -> list[ContrastivePair]:
        assert item.upstream
        selections = store.records(selected, item.upstream, Selection)
        return select.pairs(selections, store.records(sampled, rollouts_of[item.upstream], Rollout), item.problems)

    def count_pairs(item: Input) -> int:
        return select.count_kept(store.table(selected, item.upstream, ["dropped"])) if item.upstream else 0

    def make(missing: Iterable[Input]) -> Iterator[tuple[Input, pa.Table]]:
        with (
            runtime.engines.open(spec.select.rollouts.model, spec.execution, note=progress.note) as sampler,
            verify.Verifier(spec.select.form) as verifier,
        ):
            for item, traces in write(sampler, verifier, ((i, pairs(i)) for i in missing), spec, progress):
                yield item, sampled_table(traces, TeacherTrace, sampler)

    return ShardPlan(inputs, make, "teach", "solutions", count_pairs, ["dropped", "completion_ids"], count)


def run(spec: Solutions, store: Store, runtime: Runtime) -> Outcome:
    """Write the solutions of every shard of pairs that has none yet."""
    return run_shards(spec, store, plan_shards(spec, store, runtime), runtime)
