"""Settings of the work of a run: device, engine, processes, machines. None of them is hashed."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .frozen import Section

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


class VllmOptions(Section):
    """Options of vLLM. null leaves vLLM's own default."""

    tensor_parallel_size: int = Field(1, ge=1, description="GPUs over which the weights of one replica are split.")
    data_parallel_size: int = Field(1, ge=1, description="Replicas of the model, each on its own GPUs.")
    gpu_memory_utilization: float = Field(
        0.9, gt=0, le=1, description="Share of the GPU memory for weights and key-value cache."
    )
    max_model_len: int | None = Field(None, ge=1, description="Context length in tokens; null: the model's own.")
    max_num_seqs: int | None = Field(
        None, ge=1, description="Maximum number of sequences that are decoded at once; null: vLLM's default."
    )
    enforce_eager: bool = Field(
        False, description="Run without compilation and CUDA graphs, which starts sooner and runs slower."
    )
    kv_cache_dtype: str = Field(
        "auto", description="Number type of the key-value cache, e.g. fp8; auto: that of the model."
    )
    kv_cache_gib: float | None = Field(
        None,
        gt=0,
        description="Size of the key-value cache in GiB; null: what gpu_memory_utilization leaves, and 4 on a CPU.",
    )
    adapters: Literal["auto", "served", "merged"] = Field(
        "auto",
        description="The way to sample a student: served (as a LoRA adapter) or merged (into a copy of the weights). "
        "auto: merged on a CPU, where vLLM's LoRA is many times slower, and served on a GPU.",
    )

    def merges_adapters(self, device: str) -> bool:
        """Whether the adapter of a student is merged into the weights on `device`."""
        return self.adapters == "merged" or (self.adapters == "auto" and device == "cpu")


class ServerOptions(Section):
    """An OpenAI-compatible completions server that serves the model. Its key is read from SSB_SERVER_KEY."""

    url: str = Field(
        "http://127.0.0.1:8000/v1",
        pattern=r"^https?://[^/@?#\s]+(/[^?#\s]*)?$",
        examples=["http://127.0.0.1:8000/v1"],
        description="URL of the server, up to and including /v1, without a password.",
    )
    model: str | None = Field(None, description="Name of the model on the server; null: its only model.")
    seeded_draw: bool | None = Field(
        None,
        description="Draw the same samples as the other engines do. The server must be a vLLM that was started with "
        "VLLM_USE_V2_MODEL_RUNNER=0 and --logits-processors ssb_core.engines.vllm_engine:SeededDraw. null: if the "
        "server can. vLLM on a CPU needs it, because vLLM's own seeds crash it there.",
    )
    concurrency: int = Field(64, ge=1, description="Maximum number of concurrent requests.")
    retries: int = Field(
        5, ge=0, description="Maximum number of retries of a failed request; the wait doubles before each one."
    )
    timeout_seconds: float = Field(600, gt=0, le=1e6, description="Timeout of one request, in seconds.")


class Workers(Section):
    """Workers on Ray that share the shards of rollouts, teach and evaluate. By default one process makes them all."""

    count: int = Field(
        1,
        ge=1,
        description="Number of workers, each with its own engine. More than one worker, or any worker on a cluster, "
        "needs pip install -c constraints.txt -e '.[ray]'.",
    )
    address: str | None = Field(
        None,
        min_length=1,
        description="Ray cluster of the workers: auto (the one that this machine belongs to), HOST:6379 or "
        "ray://HOST:10001; null: a new one on this machine, for this run.",
    )
    num_gpus: float | None = Field(
        None,
        ge=0,
        description="GPUs of each worker; null: as many as one engine needs, or none if the cluster has no GPU or the "
        "device is cpu.",
    )
    num_cpus: int = Field(1, ge=1, description="CPU cores of each worker, and its number of computing threads.")

    @property
    def used(self) -> bool:
        """Whether workers on Ray are used."""
        return self.count > 1 or self.address is not None


class Execution(Section):
    """Device, engine, processes and machines. Nothing here changes results, so nothing here is hashed."""

    device: Literal["auto", "cpu", "mps", "cuda"] = Field(
        "auto",
        description="auto, cpu, mps or cuda (CUDA_VISIBLE_DEVICES chooses the GPU); auto: a GPU if there is one.",
    )
    engine: Literal["auto", Engine] = Field(
        "auto",
        description="Engine that samples: transformers, vllm, or openai (a completions server). auto: vllm if it is "
        "installed and suits the device, else transformers.",
    )
    vllm: VllmOptions = Field(VllmOptions(), description="Options of engine vllm.")
    server: ServerOptions = Field(ServerOptions(), description="The completions server of engine openai.")
    isolate: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Run each stage in a fresh process; auto: on CUDA, with vLLM and to train with several processes.",
    )
    timeout_hours: float = Field(
        24, gt=0, le=1e5, description="A stage in a fresh process is killed after this time, in hours."
    )
    stage_timeout_hours: dict[StageName, Annotated[float, Field(gt=0, le=1e5)]] = Field(
        {},
        description="Time limits of single stages, in hours, e.g. {rollouts: 6}. These stages run in fresh processes "
        "on any device.",
    )
    batch_size: int = Field(128, ge=1, description="Sequences that engine transformers samples at once.")
    workers: Workers = Field(Workers(), description="Workers on this machine or a Ray cluster, which share the shards.")
    train_processes: int = Field(
        1, ge=1, description="Processes that train one student together, each on its own GPU (started by torchrun)."
    )
    train_nodes: int = Field(
        1,
        ge=1,
        description="Machines over which train_processes are spread. Run python -m ssb_core.training.distributed STORE "
        "NUMBER on each machine but the first.",
    )
    train_endpoint: str | None = Field(
        None,
        pattern=r"^[^:\s]+:\d+$",
        examples=["10.0.0.1:29500"],
        description="HOST:PORT of a free port of this machine, to which the other machines of train_nodes connect.",
    )
    train_sharded: bool = Field(
        False,
        description="Split the frozen weights over train_processes (FSDP2), which needs less memory and more time.",
    )
    report_to: tuple[Literal["tensorboard", "wandb"], ...] = Field(
        (),
        description="More places for training curves: tensorboard (in the store, beside the adapter), wandb.",
    )
    capture_tokens: int = Field(
        16384,
        ge=1,
        description="Maximum number of tokens in one pass that captures the teacher's signal, padding included.",
    )
    shard_size: int = Field(
        32,
        ge=1,
        description="Problems in one shard. A killed process loses at most two shards. After a change, unfinished "
        "stages start over.",
    )

    @model_validator(mode="after")
    def _check_isolation(self) -> Self:
        if self.stage_timeout_hours and self.isolate == "never":
            raise ValueError(
                "execution.stage_timeout_hours needs fresh processes, which can be killed: execution.isolate must not "
                "be never"
            )
        return self

    @property
    def gpus_per_worker(self) -> float:
        """GPUs that one worker takes if the cluster has any."""
        if self.workers.num_gpus is not None or self.device in ("cpu", "mps"):
            return self.workers.num_gpus or 0
        return self.vllm.tensor_parallel_size * self.vllm.data_parallel_size

    def stage_hours(self, stage: str) -> float:
        """The time limit of a stage in a fresh process, in hours."""
        return self.stage_timeout_hours.get(StageName(stage), self.timeout_hours)
