"""``python -m tests.bench.capture SOURCE DTYPE PROBLEMS ROUNDS``: tokens, and seconds of two ways by turns, as JSON.

``stage`` is the teach stage's capture: from solutions in the store to committed, certified shards of their signal.
``forward`` puts the very same batches through the model without a head, and keeps nothing. Loading is not counted. The
solutions are made up of the embedded problems' own, behind prompts as the teacher sees them.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from ssb_core import models, prompts, stages
from ssb_core.problems import nano as problems
from ssb_core.progress import Progress
from ssb_core.records import TeacherTrace, Verdict, to_table
from ssb_core.runs.pipeline import Pipeline, WaveSpecs
from ssb_core.signal import capture
from ssb_core.stages import Input, Runtime, ShardPlan, shards, solutions
from ssb_core.stages.execute import execute
from ssb_core.store import Manifest, Store
from ssb_core.store import work as unfinished
from tests.bench.sampling import settings


class Clock(Progress):
    """When the phase began: the model is loaded by then."""

    def begin(self, label: str, total: int, unit: str, done: int = 0) -> None:
        self.started = time.perf_counter()


def made_up(wave: WaveSpecs) -> list[TeacherTrace]:
    """A trace for every problem of the wave, none dropped."""
    tokenizer, slip = models.load_tokenizer(wave.rollouts.model), random.Random(0)
    traces = []
    for problem, chain in zip(wave.rollouts.load_wave(), problems.stream("train", 0), strict=False):
        right, wrong = problems.solution(chain), problems.solution(chain, slip)
        student = prompts.encode(tokenizer, prompts.tutor_messages(chain.question))
        messages = prompts.hinted_messages(chain.question, right, wrong, wave.teach.solutions.few_shot)
        end = models.end_of_turn(wave.rollouts.model, tokenizer)[0]
        ids = (*tokenizer.encode(right, add_special_tokens=False), end)
        verdict = Verdict("correct", problem.answer, problem.answer)
        teacher = prompts.encode(tokenizer, messages)
        traces.append(
            TeacherTrace(
                problem_id=problem.id,
                student_prompt_ids=student,
                teacher_prompt_ids=teacher,
                completion_ids=ids,
                text=right,
                finish_reason="stop",
                seed=0,
                verdict=verdict,
                dropped=None,
            )
        )
    return traces


def taught(wave: WaveSpecs, store: Store) -> list[list[TeacherTrace]]:
    """The traces of each shard, in the store as if the stages before had written them."""
    for spec in (wave.rollouts, wave.select):
        store.prepare(spec.recipe)
        manifest = Manifest(spec.stage, spec.recipe.hash, spec.fingerprint, (), stages.sources(spec, store))
        store.commit(spec.recipe, manifest)
    by_id = {t.problem_id: t for t in made_up(wave)}
    spec = wave.teach.solutions
    inputs = shards.shard_inputs(wave.rollouts.load_wave(), spec.execution.shard_size)

    def make(missing: Iterable[Input]) -> Iterator[tuple[Input, pa.Table]]:
        for item in missing:
            yield item, to_table([by_id[p.id] for p in item.problems], TeacherTrace)

    plan = ShardPlan(inputs, make, "teach", "shards", lambda i: 1, ["dropped", "completion_ids"], solutions.count)
    shards.run_shards(spec, store, plan, Runtime())
    return [[by_id[p.id] for p in item.problems] for item in inputs]


def stage(wave: WaveSpecs, store: Store) -> float:
    clock = Clock()
    manifest = execute(wave.teach, store, Runtime(clock)).manifest
    seconds = time.perf_counter() - clock.started
    unfinished.delete_request(store, manifest)
    return seconds


@torch.inference_mode()
def forward(model: Any, traces: Sequence[Sequence[TeacherTrace]], token_budget: int) -> float:
    batches = [
        capture.padded([s[i].teacher_prompt_ids + s[i].completion_ids for i in batch], model.device)
        for s in traces
        for batch in capture.batches(s, token_budget)
    ]
    started = time.perf_counter()
    for ids_BS in batches:
        models.backbone(model)(input_ids=ids_BS, use_cache=False)
    return time.perf_counter() - started


def main() -> None:
    source, dtype, count, rounds = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        c, store = settings("transformers", source, dtype, int(count)), Store(Path(folder))
        c = c.model_copy(update={"execution": c.execution.model_copy(update={"shard_size": 32})})
        wave = Pipeline.of(c, store.root).wave(0, int(count))
        traces = taught(wave, store)
        model = models.load_model(wave.teach.model, "cpu")
        forward(model, traces[:1], c.execution.capture_tokens)  # threads and buffers of the library
        seconds: dict[str, list[float]] = {"forward": [], "stage": []}
        for _ in range(int(rounds)):
            seconds["forward"].append(forward(model, traces, c.execution.capture_tokens))
            seconds["stage"].append(stage(wave, store))
    tokens = sum(len(t.teacher_prompt_ids) + len(t.completion_ids) for s in traces for t in s)
    print(json.dumps({"tokens": tokens, "seconds": seconds}))


if __name__ == "__main__":
    main()
