"""Stage select: verify every rollout, then pick a correct and a majority-wrong rollout of each mixed problem.

The majority-wrong answer is the most common wrong one, counted by canonical key (paper, section 3.1). Only an answer
that was given can be picked, also one that cannot be parsed; a missing answer or a timeout never counts as wrong. A
draw that is seeded by the problem breaks ties and picks among rollouts with the same answer, so the order of rollouts
does not matter.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from .. import verify
from ..config import SelectConfig
from ..records import (
    AnswerForm,
    ContrastivePair,
    Drop,
    Problem,
    Rollout,
    Selection,
    Verdict,
    to_table,
)
from ..store import Store
from . import rollouts
from .execute import Outcome, required
from .runtime import Input, Runtime, ShardPlan
from .shards import downstream_inputs, run_shards
from .spec import Spec as BaseSpec

if TYPE_CHECKING:
    import pyarrow as pa


class Spec(BaseSpec):
    """Selection among the rollouts of one wave."""

    stage: ClassVar[str] = "select"
    version: ClassVar[int] = 1
    rollouts: rollouts.Spec
    select: SelectConfig

    @property
    def form(self) -> AnswerForm:
        """The form in which completions give their answers."""
        return self.rollouts.problems.completion_form

    @property
    def uses_model(self) -> bool:
        return False

    def recipe_content(self) -> dict[str, Any]:
        return {
            "rollouts": self.rollouts.recipe.hash,
            "verify": {**verify.versions(), "form": self.form},
            "select": self.select.model_dump(),
        }

    def inputs(self) -> list[str]:
        return [self.rollouts.fingerprint]


def choose(problem_id: str, verdicts: dict[int, Verdict], seed: int) -> Selection:
    """The pair of one problem, or the reason why there is none. `verdicts` are by rollout index."""
    graded = tuple(verdicts[i] for i in sorted(verdicts))
    correct = sorted(i for i, v in verdicts.items() if v.status == "correct")
    wrong: dict[str, list[int]] = defaultdict(list)
    for i, v in sorted(verdicts.items()):
        if v.status in ("incorrect", "unparsable"):
            wrong[v.key or f"unparsable:{v.answer}"].append(i)
    if not correct or not wrong:
        return Selection(problem_id, graded, None, None, _why_not_mixed(graded))
    draw = random.Random(f"{seed}/{problem_id}")
    most = max(map(len, wrong.values()))
    majority = draw.choice(sorted(k for k, indices in wrong.items() if len(indices) == most))
    return Selection(problem_id, graded, draw.choice(correct), draw.choice(wrong[majority]), None)


def _why_not_mixed(verdicts: Sequence[Verdict]) -> Drop:
    statuses = Counter(v.status for v in verdicts)
    if not verdicts:
        return "too_long"
    if statuses["correct"] == len(verdicts):
        return "all_correct"
    if any(v.unverified for v in verdicts):
        return "unverified"
    wrong = statuses["incorrect"] + statuses["unparsable"]
    return "all_wrong" if wrong and not statuses["correct"] else "unparsed"


def pairs(
    selections: Iterable[Selection], rolled: Iterable[Rollout], problems: Iterable[Problem]
) -> list[ContrastivePair]:
    """The chosen pairs of one shard, with their rollouts."""
    by_id = {p.id: p for p in problems}
    by_index = {(r.problem_id, r.index): r for r in rolled}
    return [
        ContrastivePair(by_id[s.problem_id], by_index[s.problem_id, s.correct], by_index[s.problem_id, s.wrong])
        for s in selections
        if s.correct is not None and s.wrong is not None
    ]


def count_kept(rows: pa.Table) -> int:
    """The number of rows of one shard that are not dropped: its pairs, or its taught solutions."""
    return int(rows["dropped"].null_count)


def count(table: pa.Table) -> dict[str, int]:
    """The number of mixed problems, and of dropped ones for each reason."""
    return Counter(d or "mixed" for d in table["dropped"].to_pylist())


def plan_shards(spec: Spec, store: Store, runtime: Runtime) -> ShardPlan:
    """Shards of verdicts and pairs, one for each shard of rollouts."""
    upstream = required(spec.rollouts, store)
    inputs = downstream_inputs(upstream, store, spec.rollouts.load_wave())

    def make(missing: Iterable[Input]) -> Iterator[tuple[Input, pa.Table]]:
        with verify.Verifier(spec.form) as verifier:
            for item in missing:
                assert item.upstream
                rows = store.table(upstream, item.upstream, ["problem_id", "index", "text", "finish_reason"])
                selections = grade(verifier, item.problems, rows.to_pylist(), spec.select.seed)
                yield item, to_table(selections, Selection)
                runtime.progress.advance(len(item.problems))

    return ShardPlan(inputs, make, "select", "problems", lambda item: len(item.problems), ["dropped"], count)


def run(spec: Spec, store: Store, runtime: Runtime) -> Outcome:
    """Grade every shard of rollouts that is not graded yet, and select its pairs."""
    return run_shards(spec, store, plan_shards(spec, store, runtime), runtime)


def grade(
    verifier: verify.Verifier, problems: Sequence[Problem], rows: Sequence[dict[str, Any]], seed: int
) -> list[Selection]:
    """Selections for the problems of one shard, from the columns of its rollouts that decide a verdict."""
    gold = {p.id: p.answer for p in problems}
    verdicts: dict[str, dict[int, Verdict]] = {p.id: {} for p in problems}
    answered = [r for r in rows if r["finish_reason"] != "too_long"]
    graded = verifier.grade((r["text"], gold[r["problem_id"]]) for r in answered)
    for row, verdict in zip(answered, graded, strict=True):
        verdicts[row["problem_id"]][row["index"]] = verdict
    return [choose(p.id, verdicts[p.id], seed) for p in problems]
