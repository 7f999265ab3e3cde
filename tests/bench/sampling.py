"""``python -m tests.bench.sampling HOW ENGINE SOURCE DTYPE PROBLEMS``: tokens and seconds of one way, as JSON.

HOW is ``pipeline`` (the rollouts stage: tokenising, sampling, shards written), ``raw`` (vLLM's ``LLM.generate`` on the
same prompts, with its own unseeded draw), ``drawn`` (the same with our draw) or ``loop`` (``model.generate`` for one
sequence at a time, as the reference implementation does; on a part of the prompts). Loading is not counted.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from ssb_core import models
from ssb_core.config import RunConfig, presets
from ssb_core.engines import LoadedEngine, SampleRequest
from ssb_core.progress import Progress
from ssb_core.runs.pipeline import Pipeline
from ssb_core.stages import Runtime, rollouts
from ssb_core.stages.execute import execute
from ssb_core.store import Store

LOOPED = 12  # sequences of the slow way


def settings(engine: str, source: str, dtype: str, problems: int) -> RunConfig:
    """Settings that give every model the same prompts: worked examples, then an embedded problem."""
    shots = presets.load_config("smollm2").prompts.model_dump(mode="json")
    changes = {"model": {"source": source, "dtype": dtype}, "prompts": shots}
    base = presets.load_config("quickstart", overrides=[f"problems.limit={problems}", f"target_traces={problems}"])
    execution = base.execution.model_dump(mode="json") | {
        "engine": engine,
        "batch_size": 64,
        "shard_size": 16 if engine == "vllm" else 64,  # transformers fills its batches from one shard
        "isolate": "never",
    }
    return RunConfig.model_validate(base.model_dump(mode="json") | changes | {"execution": execution})


def request(c: RunConfig, root: Path) -> rollouts.Spec:
    wave = Pipeline.of(c, root).next_wave([], 0)
    assert wave
    return wave.rollouts


def pipeline(c: RunConfig, root: Path) -> tuple[int, float]:
    spec, store = request(c, root), Store(root)
    with LoadedEngine() as engines:
        with engines.open(spec.model, spec.execution) as sampler:  # it stays loaded for the stage
            first = SampleRequest(tuple(prompts_of(spec)[0]), 0)
            list(sampler.sample([(0, [first])], spec.rollouts, Progress()))
        started = time.perf_counter()
        outcome = execute(spec, store, Runtime())
        return int(outcome.manifest.stats["tokens"]), time.perf_counter() - started


def prompts_of(spec: rollouts.Spec) -> list[list[int]]:
    from ssb_core import prompts

    tokenizer = models.load_tokenizer(spec.model)
    messages = [prompts.tutor_messages(p.question, spec.few_shot) for p in spec.load_wave()]
    return [list(ids) for ids in (prompts.encode(tokenizer, m) for m in messages) for _ in range(spec.rollouts.samples)]


def raw(c: RunConfig, root: Path, drawn: bool = False) -> tuple[int, float]:
    from vllm import LLM, SamplingParams

    from ssb_core.engines.vllm_engine import engine_args, sampling_params

    spec = request(c, root)
    arguments = vars(engine_args(spec.model, spec.execution, None))
    names = ("model", "dtype", "skip_tokenizer_init", "enforce_eager", "kv_cache_memory_bytes", "generation_config")
    names = (*names, "logits_processors") if drawn else names
    llm = LLM(**{name: arguments[name] for name in names}, enable_prefix_caching=True)
    stop = models.end_of_turn(spec.model)
    inputs: list[Any] = [{"prompt_token_ids": ids} for ids in prompts_of(spec)]
    params = [sampling_params(seed, spec.rollouts, stop) for seed in range(len(inputs))]
    if not drawn:
        own = {"temperature": spec.rollouts.temperature, "top_k": spec.rollouts.top_k}
        limits = {"max_tokens": spec.rollouts.max_new_tokens, "stop_token_ids": list(stop)}
        params = [SamplingParams(**own, **limits, detokenize=False)] * len(inputs)
    llm.generate(inputs[:1], params[:1], use_tqdm=False)
    started = time.perf_counter()
    outputs = llm.generate(inputs, params, use_tqdm=False)
    return sum(len(o.outputs[0].token_ids) for o in outputs), time.perf_counter() - started


def loop(c: RunConfig, root: Path) -> tuple[int, float]:
    import torch

    spec = request(c, root)
    prompt_ids = prompts_of(spec)
    model, stop = models.load_model(spec.model, "cpu"), list(models.end_of_turn(spec.model))
    model.generate(torch.tensor([prompt_ids[0]]), max_new_tokens=4, pad_token_id=stop[0])
    tokens, started = 0, time.perf_counter()
    for ids in prompt_ids[:: len(prompt_ids) // LOOPED]:
        out = model.generate(
            torch.tensor([ids]),
            do_sample=True,
            temperature=spec.rollouts.temperature,
            top_k=spec.rollouts.top_k,
            max_new_tokens=spec.rollouts.max_new_tokens,
            eos_token_id=stop,
            pad_token_id=stop[0],
        )
        tokens += out.shape[1] - len(ids)
    return tokens, time.perf_counter() - started


WAYS = {"pipeline": pipeline, "raw": raw, "drawn": partial(raw, drawn=True), "loop": loop}


def main() -> None:
    how, engine, source, dtype, problems = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        c = settings(engine, source, dtype, int(problems))
        tokens, seconds = WAYS[how](c, Path(folder))
    print(json.dumps({"tokens": tokens, "seconds": seconds}))


if __name__ == "__main__":
    main()
