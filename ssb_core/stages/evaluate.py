"""Stage evaluate: one model, base or student, on one benchmark; every sample is kept.

Each (model, benchmark) is a request of its own, so the base's samples are made once and shared by all runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .. import problems, prompts, verify
from ..config import Benchmark, Decoding, Example
from ..engines import K, Request, Sampler, complete, draws, open_sampler
from ..models import ResolvedModel
from ..progress import Progress
from ..records import NO_VOTE, Problem, Sample, Verdict
from ..store import Store, digest
from . import distill
from .baselines import Student
from .shards import Input, Work, run_shards, sampled_table, shard_inputs
from .spec import Outcome, required
from .spec import Spec as BaseSpec

if TYPE_CHECKING:
    import pyarrow as pa


class Spec(BaseSpec):
    """Samples of `model` (with the adapter of `student`, if given) on one benchmark."""

    stage: ClassVar[str] = "evaluate"
    version: ClassVar[int] = 4
    fans_out: ClassVar[bool] = True
    model: ResolvedModel
    student: Student | None
    benchmark: Benchmark
    decoding: Decoding
    samples: int
    few_shot: tuple[Example, ...] = ()

    @property
    def model_name(self) -> str:
        """The name in tables: ``base``, or the method that trained the student, with its round after the first."""
        if self.student is None:
            return "base"
        return self.student.method + (f"-round-{self.round}" if self.round > 1 else "")

    @property
    def names(self) -> dict[str, Any]:
        seed = self.student.names["seed"] if self.student else None
        return {"model": self.model_name, "seed": seed, "benchmark": self.benchmark.name}

    @property
    def problem_set(self) -> problems.ProblemSet:
        return problems.load_problems(self.benchmark)

    def how(self) -> dict[str, Any]:
        return {
            "model": self.model.recipe,
            "student": self.student.fingerprint if self.student else None,
            "prompt": digest(prompts.tutor_messages("", self.few_shot)),
            "verify": {**verify.versions(), "form": self.benchmark.completion_form},
            "decoding": self.decoding.recipe,
            "samples": self.samples,
        }

    def inputs(self) -> list[str]:
        return [problems.content_digest(self.problem_set)]

    @property
    def samples_with(self) -> str:
        return f"{self.model.identity}+{self.student.fingerprint}" if self.student else self.model.identity


def answer(
    sampler: Sampler,
    verifier: verify.Verifier,
    shards: Iterable[tuple[K, Sequence[Problem]]],
    spec: Spec,
    progress: Progress,
) -> Iterator[tuple[K, list[Sample]]]:
    """`samples` graded answers to every shard's problems, in order; shards as they get done."""

    def ask(problem: Problem) -> list[Request]:
        shown = prompts.tutor_messages(problem.question, spec.few_shot)
        return draws(sampler, shown, "evaluate", spec.decoding.seed, problem.id, spec.samples)

    groups = (((key, wanted), [r for p in wanted for r in ask(p)]) for key, wanted in shards)
    for (key, wanted), completed in complete(sampler, groups, spec.decoding, progress):
        names = list(product(wanted, range(spec.samples)))
        verdicts = verifier.grade((c.text, p.answer) for (p, _), (_, c) in zip(names, completed, strict=True))
        yield (
            key,
            [
                Sample(p.id, i, r.seed, digest(r.prompt_ids), c.completion_ids, c.text, c.finish_reason, verdict)
                for (p, i), (r, c), verdict in zip(names, completed, verdicts, strict=True)
            ],
        )


def facts(table: pa.Table) -> dict[str, int]:
    """Counts of samples by verdict, and of tokens."""
    statuses = [v["status"] for v in table["verdict"].to_pylist()]
    tokens = sum(len(ids) for ids in table["completion_ids"].to_pylist())
    return {"samples": table.num_rows, "tokens": tokens, "correct": statuses.count("correct")}


def work(spec: Spec, store: Store, progress: Progress) -> Work:
    """Shards of graded samples."""
    wanted = spec.problem_set
    adapter, weights = None, None
    if spec.student:
        adapter = spec.student.adapter(store)
        weights = distill.weights(required(spec.student, store))
    inputs = shard_inputs(wanted, spec.execution.shard_size, weights)

    def make(missing: Iterable[Input]) -> Iterator[tuple[Input, pa.Table]]:
        with (
            open_sampler(spec.model, spec.execution, adapter, progress.note) as sampler,
            verify.Verifier(spec.benchmark.completion_form) as verifier,
        ):
            for item, rows in answer(sampler, verifier, ((i, i.problems) for i in missing), spec, progress):
                yield item, sampled_table(rows, Sample, sampler)

    def samples(item: Input) -> int:
        return len(item.problems) * spec.samples

    label = f"evaluate {spec.model_name} on {spec.benchmark.name}"
    return Work(inputs, make, label, "samples", samples, ["verdict", "completion_ids"], facts)


def run(spec: Spec, store: Store, progress: Progress) -> Outcome:
    """Sample and grade every shard of the benchmark that is not in the store yet."""
    return run_shards(spec, store, work(spec, store, progress), progress)


def arrays(spec: Spec, store: Store) -> dict[str, np.ndarray]:
    """(problems, samples) arrays of a finished request, as `statistics.score` takes them: tokens and votes (int); the
    rest bool: correct, no_answer, truncated, string_match, unverified, timeouts.

    Raises:
        StoreError: the request is not finished.
    """
    gold = {p.id: p.answer for p in spec.problem_set}
    columns: dict[str, list[Any]] = defaultdict(list)
    wanted = ["problem_id", "verdict", "finish_reason", "completion_ids"]
    for table in store.tables(required(spec, store), wanted):
        for row in table.to_pylist():
            verdict = Verdict(**row["verdict"])
            columns["correct"].append(verdict.status == "correct")
            columns["no_answer"].append(verdict.status == "no_answer")
            columns["truncated"].append(row["finish_reason"] != "stop")
            columns["tokens"].append(len(row["completion_ids"]))
            columns["unverified"].append(verdict.unverified)
            columns["timeouts"].append(verdict.status == "timeout")
            columns["votes"].append(_vote(verdict))
            columns["string_match"].append(verdict.matches_literally(gold[row["problem_id"]]))
    columns["votes"] = _numbered(columns["votes"])
    return {name: np.array(values).reshape(-1, spec.samples) for name, values in columns.items()}


def _vote(verdict: Verdict) -> str | None:
    """What a sample votes for in maj@k: its canonical key, or its answer as written where it has none."""
    return f"key {verdict.key}" if verdict.key is not None else verdict.answer and f"text {verdict.answer}"


def _numbered(votes: Sequence[str | None]) -> list[int]:
    """Equal votes as equal numbers."""
    numbers = {vote: i for i, vote in enumerate(dict.fromkeys(votes))}
    return [numbers[vote] if vote else NO_VOTE for vote in votes]
