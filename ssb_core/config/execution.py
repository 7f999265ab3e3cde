"""How the work of a run is done: device, engine, processes. Nothing here is hashed."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .frozen import Frozen

Engine = Literal["transformers", "vllm", "openai"]


class StageName(StrEnum):
    """The stages, in the order they run."""

    rollouts = "rollouts"
    select = "select"
    teach = "teach"
    distill = "distill"
    sft = "sft"
    rft = "rft"
    ssb_no_wrong = "ssb-no-wrong"
    grpo = "grpo"
    merge = "merge"
    evaluate = "evaluate"


class VllmOptions(Frozen):
    """What vLLM is started with; null leaves vLLM's own default."""

    tensor_parallel_size: int = Field(1, ge=1, description="GPUs that share one replica's weights.")
    data_parallel_size: int = Field(1, ge=1, description="Replicas, each on GPUs of its own.")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="Share of GPU memory for weights and cache.")
    max_model_len: int | None = Field(None, ge=1, description="Context in tokens, if less than the model's.")
    max_num_seqs: int | None = Field(None, ge=1, description="Sequences decoded at once.")
    enforce_eager: bool = Field(False, description="No compilation, no CUDA graphs: starts sooner, runs slower.")
    kv_cache_dtype: str = Field("auto", description="Precision of the key-value cache, e.g. fp8.")
    kv_cache_gib: float | None = Field(
        None, gt=0, description="Size of the key-value cache, instead of what gpu_memory_utilization leaves; CPU: 4."
    )
    adapters: Literal["auto", "served", "merged"] = Field(
        "auto",
        description="How a student is sampled: served as a LoRA adapter, or merged into a copy of the weights first; "
        "auto merges on a CPU, for which vLLM's LoRA is many times slower.",
    )

    def merges(self, device: str) -> bool:
        """Whether a student's adapter is merged into the weights on `device`."""
        return self.adapters == "merged" or (self.adapters == "auto" and device == "cpu")


class ServerOptions(Frozen):
    """An OpenAI-compatible completions server that serves the model; its key is read from SSB_SERVER_KEY."""

    url: str = Field(
        "http://127.0.0.1:8000/v1", pattern=r"^https?://[^/@?#\s]+(/[^?#\s]*)?$", description="Up to and including /v1."
    )
    model: str | None = Field(None, description="Name it is served under; by default the only one.")
    seeded_draw: bool | None = Field(
        None,
        description="Same draws as the other engines, from a vLLM that was started with VLLM_USE_V2_MODEL_RUNNER=0 and "
        "--logits-processors ssb_core.engines.vllm_engine:SeededDraw; by default where the server has it. vLLM on a "
        "CPU needs that: seeds of its own kill it.",
    )
    concurrency: int = Field(64, ge=1, description="Requests in flight.")
    retries: int = Field(5, ge=0, description="Further tries of a request, waiting twice as long before each.")
    timeout_seconds: float = Field(600, gt=0, le=1e6, description="Of one request.")


class Workers(Frozen):
    """Who makes the shards of rollouts, teach and evaluate: this process, or several workers on Ray."""

    count: int = Field(
        1,
        ge=1,
        description="How many, each with an engine of its own. More than one, or any on a cluster, need "
        "pip install -c constraints.txt -e '.[ray]'.",
    )
    address: str | None = Field(
        None,
        min_length=1,
        description="Ray cluster they run on: auto (the one this machine belongs to), HOST:6379 or ray://HOST:10001; "
        "by default one is started on this machine for the run.",
    )
    num_gpus: float | None = Field(
        None,
        ge=0,
        description="GPUs of each; by default what one engine takes where the cluster has any and device is not cpu.",
    )
    num_cpus: int = Field(1, ge=1, description="Cores of each, and threads that compute on them.")

    @property
    def used(self) -> bool:
        """Whether there are any beside this process."""
        return self.count > 1 or self.address is not None


class Execution(Frozen):
    """How the work is done. Nothing here changes which rows are asked for, so nothing here is hashed."""

    device: str = Field(
        "auto", pattern=r"^(auto|cpu|mps|cuda)$", description="auto, cpu, mps or cuda (CUDA_VISIBLE_DEVICES picks one)."
    )
    engine: Literal["auto"] | Engine = Field(
        "auto", description="What samples: auto takes vLLM where it is installed and suits the device."
    )
    vllm: VllmOptions = Field(VllmOptions(), description="For engine vllm.")
    server: ServerOptions = Field(ServerOptions(), description="For engine openai.")
    isolate: Literal["auto", "always", "never"] = Field(
        "auto", description="Run stages in fresh processes; auto does so on CUDA and with vLLM."
    )
    timeout_hours: float = Field(24, gt=0, le=1e5, description="A stage in a fresh process is killed after this.")
    stage_timeout_hours: dict[StageName, Annotated[float, Field(gt=0, le=1e5)]] = Field(
        {}, description="Limits of single stages, e.g. {rollouts: 6}: these run in fresh processes on any device."
    )
    batch_size: int = Field(128, ge=1, description="Sequences that transformers samples at once.")
    workers: Workers = Field(Workers(), description="Several workers, here or elsewhere, that share the shards.")
    train_processes: int = Field(
        1, ge=1, description="Processes that train one student together, each on a GPU of its own (torchrun)."
    )
    train_nodes: int = Field(
        1,
        ge=1,
        description="Machines that train_processes are spread over; on each but the first runs "
        "python -m ssb_core.training.distributed STORE NUMBER.",
    )
    train_endpoint: str | None = Field(
        None,
        pattern=r"^[^:\s]+:\d+$",
        description="HOST:PORT, a free port of this machine where the machines of train_nodes meet.",
    )
    train_sharded: bool = Field(
        False, description="Each of train_processes holds a part of the frozen weights (FSDP2): less memory, slower."
    )
    report_to: tuple[Literal["tensorboard", "wandb"], ...] = Field(
        (), description="Where else training curves go: tensorboard (into the store, beside the adapter), wandb."
    )
    capture_tokens: int = Field(16384, ge=1, description="Padded tokens in one capture pass.")
    shard_size: int = Field(
        32,
        ge=1,
        description="Problems in one shard: a kill costs two at most. Changed, unfinished stages start over.",
    )

    @model_validator(mode="after")
    def _can_be_kept(self) -> Self:
        if self.stage_timeout_hours and self.isolate == "never":
            raise ValueError("stage_timeout_hours needs processes that can be killed: isolate may not be never")
        return self

    @property
    def gpus(self) -> float:
        """GPUs that one of the workers takes, where there are any."""
        if self.workers.num_gpus is not None or self.device in ("cpu", "mps"):
            return self.workers.num_gpus or 0
        return self.vllm.tensor_parallel_size * self.vllm.data_parallel_size

    def hours(self, stage: str) -> float:
        """How long a stage in a fresh process may take."""
        return self.stage_timeout_hours.get(StageName(stage), self.timeout_hours)
