"""Sampling with vLLM: continuous batching over several shards at once, with prefix caching of shared prompts.

vLLM cannot seed its draw for each request on a CPU, and is slow at it elsewhere. Here vLLM samples greedily, and a
logits processor leaves each row only the token that its own stream draws (see `draw`). The streams are those of the
other engines, so a run that one engine began can continue with another. vLLM gets token ids only, never a tokenizer.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from .. import models
from ..config import Decoding
from ..config.execution import Execution
from ..config.secrets import hub_token
from ..errors import ConfigError, EngineError
from ..models import ResolvedModel
from ..progress import Progress
from ..records import Completion
from .async_loop import AsyncLoop, Note
from .base import BaseSampler
from .sampler import K, SampleRequest
from .seeded_draw import draw, uniforms

os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # read when vLLM is imported
os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")  # torch may be in use, and it does not survive a fork
os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0")  # V2, the default on CUDA, takes no processor like ours

import vllm
from vllm import SamplingParams
from vllm.config.lora import MaxLoRARanks
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.exceptions import VLLMServerError
from vllm.inputs import tokens_input
from vllm.lora.request import LoRARequest
from vllm.sampling_params import RequestOutputKind
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.sample.logits_processor import LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

LORA_RANKS: tuple[int, ...] = get_args(MaxLoRARanks)
"""The ranks that vLLM has kernels for. An adapter of another rank uses the next larger one."""


class VllmSampler(BaseSampler):
    """`Sampler` over ``AsyncLLM``."""

    def __init__(self, model: ResolvedModel, execution: Execution, adapter: Path | None) -> None:
        super().__init__(model)
        self.loop = AsyncLoop("vllm")
        with contextlib.ExitStack() as until_loaded:
            if adapter and execution.vllm.merges_adapters(models.pick_device(execution.device)):  # see `_merged`
                model, adapter = until_loaded.enter_context(_merged(model, adapter)), None
            self.adapter = LoRARequest("student", 1, str(adapter)) if adapter else None
            self.engine = self.loop.run(_start(engine_args(model, execution, adapter)))
        self.limit = self.engine.model_config.max_model_len
        self.limited_by = _limiter(execution)
        scheduler = self.engine.vllm_config.scheduler_config
        self.in_flight = 2 * scheduler.max_num_seqs * execution.vllm.data_parallel_size
        self.names = itertools.count()

    @property
    def name(self) -> str:
        return f"vllm {vllm.__version__}"

    def sample(
        self, groups: Iterable[tuple[K, Sequence[SampleRequest]]], decoding: Decoding, progress: Progress
    ) -> Iterator[tuple[K, list[Completion]]]:
        async def complete_one(request: SampleRequest, note: Note) -> Completion:
            prompt = tokens_input(list(request.prompt_ids))
            params = sampling_params(request.seed, decoding, self.stop_ids)
            try:
                outputs = self.engine.generate(prompt, params, str(next(self.names)), lora_request=self.adapter)
                async for output in outputs:
                    (result,) = output.outputs
            except VLLMServerError as e:
                raise EngineError(f"vLLM failed ({type(e).__name__}); see its own log") from e
            ids = tuple(result.token_ids)
            if ids[-1] not in self.stop_ids and len(ids) != decoding.max_new_tokens:
                raise EngineError(f"vLLM cut a completion at {len(ids)} tokens, not at {decoding.max_new_tokens}")
            text = self.tokenizer.decode(ids, skip_special_tokens=True)
            return Completion(ids, text, "stop" if ids[-1] in self.stop_ids else "length")

        return self.loop.sample(groups, complete_one, self.in_flight, progress)

    def close(self) -> None:
        self.loop.close()  # before the engine: running tasks would report its end as an error
        self.engine.shutdown()


def _limiter(execution: Execution) -> str:
    """The setting or cause that limits how many tokens vLLM takes, and the remedy."""
    if execution.vllm.max_model_len is not None:
        return "execution.vllm.max_model_len: raise it, or leave it out"
    return (
        "the model's configuration as vLLM reads it, or by the size of the cache: raise execution.vllm.kv_cache_gib ("
        "on a GPU also gpu_memory_utilization), or take another engine"
    )


@contextlib.contextmanager
def _merged(model: ResolvedModel, adapter: Path) -> Iterator[ResolvedModel]:
    """The student as a model of its own in a temporary folder, until the engine has loaded it.

    On a CPU this is needed because vLLM's LoRA copies the adapter for every token. The dtype is float32: rounded to 16
    bits, the sum of weights and adapter would be another student.
    """
    with tempfile.TemporaryDirectory(prefix="ssb-student-") as folder:
        with models.no_bars():
            models.load_merged(model, adapter).save_pretrained(folder)
        yield model.model_copy(update={"source": folder, "revision": None, "gguf": None, "dtype": "float32"})


async def _start(arguments: AsyncEngineArgs) -> AsyncLLM:
    return AsyncLLM.from_engine_args(arguments, usage_context=UsageContext.LLM_CLASS)  # larger batches than a server's


def engine_args(model: ResolvedModel, execution: Execution, adapter: Path | None) -> AsyncEngineArgs:
    """The arguments of vLLM: the model without its suggestions for sampling, and no tokenizer."""
    options = execution.vllm.model_dump(exclude={"kv_cache_gib", "adapters"}, exclude_none=True)
    options.setdefault("max_model_len", -1)  # as much of the model's context as the cache can hold
    cache = execution.vllm.kv_cache_gib
    if cache is None and models.pick_device(execution.device) == "cpu":
        cache = 4.0  # by default vLLM would take nearly all memory, as it does on a GPU
    if cache is not None:
        options["kv_cache_memory_bytes"] = int(cache * 2**30)
    if adapter is not None:
        models.refuse_pickled(adapter)
        rank = json.loads((adapter / "adapter_config.json").read_text())["r"]
        if rank > LORA_RANKS[-1]:
            raise ConfigError(
                f"vLLM serves adapters up to rank {LORA_RANKS[-1]}, this student's is {rank} (distill.lora_rank)\n"
                "  remedy: set execution.engine to transformers"
            )
        options |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": next(r for r in LORA_RANKS if r >= rank)}
    return AsyncEngineArgs(
        model=models.local(model),
        revision=model.revision,
        hf_token=hub_token(),
        dtype=model.dtype,
        load_format="safetensors",  # else vLLM reads pickles if there are none, and prefers Mistral's own file
        skip_tokenizer_init=True,
        generation_config="vllm",
        enable_prefix_caching=True,
        logits_processors=[SeededDraw],
        disable_log_stats=True,
        **options,
    )


def sampling_params(seed: int, decoding: Decoding, stop_ids: Sequence[int]) -> SamplingParams:
    """Greedy sampling for vLLM, with the settings of the seeded draw in `extra_args`."""
    return SamplingParams(
        temperature=0.0,
        max_tokens=decoding.max_new_tokens,
        ignore_eos=True,  # the stop tokens below are the only ones, as in the other engines
        stop_token_ids=list(stop_ids),
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        extra_args={"ssb": [seed, decoding.temperature, decoding.top_k]} if decoding.temperature else None,
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """One sequence of the running batch: the settings of its draw, and the tokens so far (vLLM's own list)."""

    uniform_S: np.ndarray
    temperature: float
    top_k: int
    sampled: list[int]

    @classmethod
    def of(cls, params: SamplingParams, prompt: list[int] | None, sampled: list[int]) -> _Row | None:
        if "ssb" not in (params.extra_args or {}):
            return None
        seed, temperature, top_k = params.extra_args["ssb"]
        return cls(uniforms(seed, params.max_tokens), temperature, top_k, sampled)


class SeededDraw(LogitsProcessor):
    """Makes the token that each sequence's own stream draws the greedy choice."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        self.device = device
        self.rows: dict[int, _Row] = {}

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Refuse bad values for seed, temperature and top-k, which clients of a server with this processor may send."""
        settings = (sampling_params.extra_args or {}).get("ssb")
        if settings is None:
            return
        match settings:
            case [int(seed), int() | float() as temperature, int(top_k)]:
                usable = 0 <= seed < 2**63 and 0 < temperature < 1e9 and 0 <= top_k < 2**31
            case _:
                usable = False
        if not usable:
            raise ValueError("ssb must be a list of a seed of 63 bits, a temperature above 0 and a top-k")

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: Any) -> None:
        process_dict_updates(self.rows, batch_update, _Row.of)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        groups: dict[tuple[float, int], list[int]] = defaultdict(list)
        for index, row in self.rows.items():
            groups[row.temperature, row.top_k].append(index)
        for (temperature, top_k), indices in groups.items():
            rows = [self.rows[i] for i in indices]
            uniform_B1 = torch.tensor([[r.uniform_S[len(r.sampled)]] for r in rows], device=self.device)
            index_B = torch.tensor(indices, device=self.device)
            drawn_B1 = draw(logits[index_B], uniform_B1, temperature, top_k)
            logits[index_B, drawn_B1[:, 0]] = torch.inf
        return logits
