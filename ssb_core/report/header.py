"""The top of a report in words: what the run was made from, how to make it again, and how to load its student."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING

from .. import problems
from ..config import ProblemsConfig, RunConfig
from ..results import queries
from ..results.adapter import TrainedAdapter

if TYPE_CHECKING:
    from ..runs import Run


def finished_at(run: Run) -> str:
    """The time at which the run was finished, for example ``2026-03-01 14:05``, in UTC."""
    moment = run.path("summary.json").stat().st_mtime
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(moment))


def model_name(config: RunConfig) -> str:
    """``Qwen/Qwen2.5-3B-Instruct, bfloat16``."""
    return f"{config.model.source}, {config.model.dtype}"


def is_nano(run: Run) -> bool:
    """Whether the base is the embedded model, whose texts need an explanation."""
    return queries.load_config(run).model.source == "nano"


def problem_set_name(config: ProblemsConfig) -> str:
    """The source, for a data set on the hub with its subset and split: ``openai/gsm8k, main, train``."""
    parts = (config.source, config.subset, config.split) if problems.is_on_hub(config) else (config.source,)
    return ", ".join(part for part in parts if part)


def command(run: Run) -> str:
    """The command that makes the run again, in any working directory. What the store still has is reused."""
    directory = run.directory.absolute()
    words = ["ssb", "run", "--config", directory / "config.yaml", "--name", run.name]
    words += ["--runs", directory.parent, "--store", run.store.location]
    return shlex.join(map(str, words))


def loading_code(adapter: TrainedAdapter) -> str:
    """Python that loads the student with transformers and peft."""
    revision = f", revision={adapter.revision!r}" if adapter.revision else ""
    return (
        "from peft import PeftModel\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f"base = {adapter.base!r}\n"
        f"tokenizer = AutoTokenizer.from_pretrained(base{revision})\n"
        f"model = AutoModelForCausalLM.from_pretrained(base, dtype={adapter.dtype!r}{revision})\n"
        f"student = PeftModel.from_pretrained(model, {str(adapter.directory)!r})\n"
    )
