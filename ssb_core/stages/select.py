"""Stage select: verify every rollout; pick one correct and one majority-wrong rollout of each mixed problem.

The majority-wrong answer is the most common wrong one, counted by canonical key (paper, section 3.1). Only answers
that were given can be picked, unreadable ones too: a missing answer or a timeout is never "wrong". Ties, and the choice
among rollouts with the same answer, are decided by a draw seeded by the problem: the order of rollouts is no matter.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from .. import verify
from ..config import SelectConfig
from ..progress import Progress
from ..records import AnswerForm, ContrastivePair, Drop, Problem, Rollout, Selection, Verdict, from_row, to_table
from ..store import Store
from . import rollouts
from .shards import Input, Work, downstream_inputs, run_shards
from .spec import Outcome, required
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
        """How completions hold their answers."""
        return self.rollouts.problems.completion_form

    @property
    def uses_model(self) -> bool:
        return False

    def how(self) -> dict[str, Any]:
        return {
            "rollouts": self.rollouts.recipe.hash,
            "verify": {**verify.versions(), "form": self.form},
            "select": self.select.model_dump(),
        }

    def inputs(self) -> list[str]:
        return [self.rollouts.fingerprint]


def choose(problem_id: str, verdicts: dict[int, Verdict], seed: int) -> Selection:
    """The pair of one problem, or why there is none, from the verdicts by rollout index."""
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


def pairs(selected: pa.Table, sampled: pa.Table, problems: Iterable[Problem]) -> list[ContrastivePair]:
    """The chosen pairs of one shard, with their rollouts; `sampled` is the shard of rollouts, of `problems`."""
    by_id = {p.id: p for p in problems}
    rolled = {(r["problem_id"], r["index"]): from_row(Rollout, r) for r in sampled.to_pylist()}
    chosen = (from_row(Selection, row) for row in selected.to_pylist())
    return [
        ContrastivePair(by_id[s.problem_id], rolled[s.problem_id, s.correct], rolled[s.problem_id, s.wrong])
        for s in chosen
        if s.correct is not None and s.wrong is not None
    ]


def mixed(selected: pa.Table) -> int:
    """How many pairs one shard holds."""
    return int(selected["dropped"].null_count)


def counts(table: pa.Table) -> dict[str, int]:
    """How many problems were mixed, and how many were dropped for which reason."""
    return Counter(d or "mixed" for d in table["dropped"].to_pylist())


def work(spec: Spec, store: Store, progress: Progress) -> Work:
    """Shards of verdicts and pairs, one for each shard of rollouts."""
    upstream = required(spec.rollouts, store)
    inputs = downstream_inputs(upstream, store, spec.rollouts.wave)

    def make(missing: Iterable[Input]) -> Iterator[tuple[Input, pa.Table]]:
        with verify.Verifier(spec.form) as verifier:
            for item in missing:
                assert item.upstream
                rows = store.table(upstream, item.upstream, ["problem_id", "index", "text", "finish_reason"])
                found = grade(verifier, item, rows.to_pylist(), spec.select.seed)
                yield item, to_table(found, Selection)
                progress.advance(len(item.problems))

    return Work(inputs, make, "select", "problems", lambda item: len(item.problems), ["dropped"], counts)


def run(spec: Spec, store: Store, progress: Progress) -> Outcome:
    """Grade and select every shard of rollouts that has not been."""
    return run_shards(spec, store, work(spec, store, progress), progress)


def grade(verifier: verify.Verifier, item: Input, rows: Sequence[dict[str, Any]], seed: int) -> list[Selection]:
    """Selections for the problems of one shard, from the rows of its rollouts."""
    gold = {p.id: p.answer for p in item.problems}
    verdicts: dict[str, dict[int, Verdict]] = {p.id: {} for p in item.problems}
    answered = [r for r in rows if r["finish_reason"] != "too_long"]
    graded = verifier.grade((r["text"], gold[r["problem_id"]]) for r in answered)
    for row, verdict in zip(answered, graded, strict=True):
        verdicts[row["problem_id"]][row["index"]] = verdict
    return [choose(p.id, verdicts[p.id], seed) for p in item.problems]
