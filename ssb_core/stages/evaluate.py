"""Stage evaluate: one model, with or without an adapter, on one benchmark. Every sample is kept.

Each (model, benchmark) is a request of its own, so the samples of the base model are made once for all runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .. import prompts, verify
from ..config import Benchmark, Decoding, Example
from ..engines import K, Sampler, SampleRequest, requests_for
from ..models import Adapter, ResolvedModel
from ..problems import ProblemSet, load_unchanged
from ..progress import Progress
from ..records import NO_VOTE, Problem, Sample, Verdict
from ..store import Store, digest
from .baselines import Student
from .directory import weights
from .execute import Outcome, required
from .runtime import Input, Runtime, ShardPlan
from .sampling import Sampled, sample_and_grade
from .shards import run_shards, sampled_table, shard_inputs
from .spec import Spec as BaseSpec

if TYPE_CHECKING:
    import pyarrow as pa


class Spec(BaseSpec):
    """Samples of `model` on one benchmark: alone, with the adapter of `student`, or with the user's own `adapter`.

    `problems_digest` names the content of the benchmark's problems.
    """

    stage: ClassVar[str] = "evaluate"
    version: ClassVar[int] = 4
    can_fan_out: ClassVar[bool] = True
    model: ResolvedModel
    student: Student | None
    adapter: Adapter | None = None
    benchmark: Benchmark
    problems_digest: str
    decoding: Decoding
    samples: int
    few_shot: tuple[Example, ...] = ()

    @property
    def model_name(self) -> str:
        """The name in tables: ``base``, ``adapter``, or the method that trained the student.

        The student of a later round has its round behind it.
        """
        if self.student is None:
            return "adapter" if self.adapter else "base"
        return self.student.method + (f"-round-{self.round}" if self.round > 1 else "")

    @property
    def labels(self) -> dict[str, Any]:
        seed = self.student.labels["seed"] if self.student else None
        return {"model": self.model_name, "seed": seed, "benchmark": self.benchmark.name}

    def load_problem_set(self) -> ProblemSet:
        """Read the benchmark's problems.

        Raises:
            ConfigError: they changed since the request was made.
        """
        return load_unchanged(self.benchmark, self.problems_digest)

    @property
    def adapter_identity(self) -> str | None:
        """The identity of the weights on top of the model; None if there are none."""
        return self.student.fingerprint if self.student else self.adapter.identity if self.adapter else None

    def load_adapter(self, store: Store) -> Path | None:
        """The directory of the adapter on top of the model, checked; None if there is none.

        Raises:
            StoreError: the student is not finished, or is damaged.
            ConfigError: the user's adapter has changed since the request was made.
        """
        if self.student:
            return self.student.load_adapter(store)
        return self.adapter.load() if self.adapter else None

    def recipe_content(self) -> dict[str, Any]:
        return {
            "model": self.model.recipe,
            "student": self.adapter_identity,
            "prompt": digest(prompts.tutor_messages("", self.few_shot)),
            "verify": {**verify.versions(), "form": self.benchmark.completion_form},
            "decoding": self.decoding.recipe,
            "samples": self.samples,
        }

    def inputs(self) -> list[str]:
        return [self.problems_digest]

    @property
    def engine_key(self) -> str:
        return f"{self.model.identity}+{self.adapter_identity}" if self.adapter_identity else self.model.identity


def answer(
    sampler: Sampler,
    verifier: verify.Verifier,
    shards: Iterable[tuple[K, Sequence[Problem]]],
    spec: Spec,
    progress: Progress,
) -> Iterator[tuple[K, list[Sample]]]:
    """`samples` graded answers to every shard's problems, in order. Shards come as they get done."""

    def ask(problem: Problem) -> list[SampleRequest]:
        messages = prompts.tutor_messages(problem.question, spec.few_shot)
        return requests_for(sampler, messages, "evaluate", spec.decoding.seed, problem.id, spec.samples)

    def gold(problem: Problem) -> str:
        return problem.answer

    for key, samples in sample_and_grade(sampler, shards, ask, spec.decoding, progress, verifier, gold):
        yield key, [_sample(s) for s in samples]


def _sample(sampled: Sampled[Problem]) -> Sample:
    request, c = sampled.request, sampled.completion
    prompt_hash, problem_id = digest(request.prompt_ids), sampled.item.id
    assert sampled.verdict
    return Sample(
        problem_id=problem_id,
        index=sampled.index,
        seed=request.seed,
        prompt_hash=prompt_hash,
        completion_ids=c.completion_ids,
        text=c.text,
        finish_reason=c.finish_reason,
        verdict=sampled.verdict,
    )


def count(table: pa.Table) -> dict[str, int]:
    """Numbers of samples, of their tokens, and of correct ones."""
    statuses = [v["status"] for v in table["verdict"].to_pylist()]
    tokens = sum(len(ids) for ids in table["completion_ids"].to_pylist())
    return {"samples": table.num_rows, "tokens": tokens, "correct": statuses.count("correct")}


def plan_shards(spec: Spec, store: Store, runtime: Runtime) -> ShardPlan:
    """Shards of graded samples."""
    progress = runtime.progress
    adapter = spec.load_adapter(store)
    trained = weights(required(spec.student, store)) if spec.student else None
    inputs = shard_inputs(spec.load_problem_set(), spec.execution.shard_size, trained)

    def make(missing: Iterable[Input]) -> Iterator[tuple[Input, pa.Table]]:
        with (
            runtime.engines.open(spec.model, spec.execution, adapter, progress.note) as sampler,
            verify.Verifier(spec.benchmark.completion_form) as verifier,
        ):
            for item, rows in answer(sampler, verifier, ((i, i.problems) for i in missing), spec, progress):
                yield item, sampled_table(rows, Sample, sampler)

    def samples(item: Input) -> int:
        return len(item.problems) * spec.samples

    label = f"evaluate {spec.model_name} on {spec.benchmark.name}"
    return ShardPlan(inputs, make, label, "samples", samples, ["verdict", "completion_ids"], count)


def run(spec: Spec, store: Store, runtime: Runtime) -> Outcome:
    """Sample and grade every shard of the benchmark that is not in the store yet."""
    return run_shards(spec, store, plan_shards(spec, store, runtime), runtime)


def arrays(spec: Spec, store: Store) -> dict[str, np.ndarray]:
    """Arrays of shape (problems, samples) of a finished request, as `statistics.score` takes them.

    `tokens` and `votes` are int; `correct`, `no_answer`, `truncated`, `string_match`, `unverified` and `timeouts` are
    bool.

    Raises:
        StoreError: the request is not finished.
    """
    gold = {p.id: p.answer for p in spec.load_problem_set()}
    columns: dict[str, list[Any]] = defaultdict(list)
    read = ["problem_id", "verdict", "finish_reason", "completion_ids"]
    for table in store.tables(required(spec, store), read):
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
    """The vote of a sample in maj@k: its canonical key, or its answer as written if it has no key."""
    return f"key {verdict.key}" if verdict.key is not None else verdict.answer and f"text {verdict.answer}"


def _numbered(votes: Sequence[str | None]) -> list[int]:
    """Votes as numbers, equal ones with the same number."""
    numbers = {vote: i for i, vote in enumerate(dict.fromkeys(votes))}
    return [numbers[vote] if vote else NO_VOTE for vote in votes]
