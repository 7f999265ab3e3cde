"""Checks of the model: is it available, does it work with the method, and does it fit into memory."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import humanize

from ..config import RunConfig
from ..config.execution import Execution
from ..config.secrets import hub_token
from ..errors import ConfigError
from ..prompts import Messages, tutor_messages
from ..results.wording import size
from .checks import Check, nearest
from .context import WIDTHS, DoctorContext
from .machine import main_memory

if TYPE_CHECKING:
    from ..models import ResolvedModel

WITHOUT_WEIGHTS = ["*.json", "*.jinja", "*.model", "*.txt"]  # files of a model on the hub


def model(context: DoctorContext) -> Iterator[Check]:
    """Whether the model is available: here already, to be converted, or to be downloaded."""
    from .. import models
    from ..models import gguf

    config = context.config.model
    context.model = resolved = models.resolve(config, context.store.root)
    if resolved.revision is not None:
        yield _on_the_hub(resolved)
    elif resolved.gguf is not None:
        converted = gguf.is_complete(Path(resolved.source))
        state = "converted" if converted else "will be converted once, into the store"
        yield Check("model", "ok", f"{resolved.gguf}, {state}")
    else:
        yield Check("model", "ok", f"{'nano, embedded' if config.source == 'nano' else resolved.source}")


def _on_the_hub(model: ResolvedModel) -> Check:
    import huggingface_hub
    from huggingface_hub import constants

    from ..models import hub

    name = f"{model.source} at {str(model.revision)[:8]}"
    if hub.cached_commit(model.source, model.revision):
        return Check("model", "ok", f"{name}, in the hub cache")
    api = huggingface_hub.HfApi(token=hub_token())
    about = api.model_info(model.source, revision=model.revision, files_metadata=True, timeout=hub.TIMEOUT)
    needed = sum(f.size or 0 for f in about.siblings or () if f.rfilename.endswith(".safetensors"))
    cache = Path(constants.HF_HUB_CACHE)
    free = shutil.disk_usage(nearest(cache)).free
    message = f"{name}, will be downloaded: {size(needed)} into {cache}, which has {size(free)} free"
    if needed < free:
        return Check("model", "ok", message)
    return Check("model", "problem", message, "set HF_HOME to a folder on a disk with more free space")


def usable(context: DoctorContext) -> Iterator[Check]:
    """Whether the method can use the model: its head, tokenizer, chat template, end of turn and context length."""
    from .. import models

    if context.model is None:
        return
    with _readable(context.model) as readable:
        if pipeline := context.load_pipeline():
            # The device and the engine have their own checks, so their problems are not reported again here.
            plain = pipeline.config.model_copy(update={"execution": Execution(engine="transformers")})
            replace(pipeline, config=plain, model=readable).check_model(weights=readable is context.model)
        else:
            models.check(readable, "auto", _example(context.config))
        context.shape = models.shape(readable)
        length = models.context_length(readable)
    message = f"architecture, tokenizer, chat template and end of turn fit; context {length:,} tokens"
    yield Check(
        "use", "ok", message + ("" if pipeline else " (tested on an example, because not all problems are here)")
    )


def _example(config: RunConfig) -> dict[str, tuple[Messages, int]]:
    """Prompts for `models.check` if the problems are not here."""
    messages = tutor_messages("What is 2 + 3?", config.prompts.few_shot)
    stages = {"rollouts": config.rollouts, "teach": config.teach, "evaluate": config.evaluate}
    return {f"{name}.max_new_tokens": (messages, stage.max_new_tokens) for name, stage in stages.items()}


@contextlib.contextmanager
def _readable(model: ResolvedModel) -> Iterator[ResolvedModel]:
    """The model with a readable configuration and tokenizer; missing files are put into a temporary folder."""
    from ..models import gguf, hub

    missing = model.revision is not None and not hub.cached_commit(model.source, model.revision)
    unconverted = model.gguf is not None and not gguf.is_complete(Path(model.source))
    if not (missing or unconverted):
        yield model
        return
    with tempfile.TemporaryDirectory(prefix="ssb-doctor-") as folder:
        source = _from_hub(model, folder) if missing else folder
        if unconverted:
            gguf.save_config_and_tokenizer(Path(str(model.gguf)), Path(folder))
        try:
            yield model.model_copy(update={"source": source, "revision": None, "gguf": None})
        except ConfigError as e:
            raise ConfigError(str(e).replace(source, model.gguf or model.source)) from None


def _from_hub(model: ResolvedModel, folder: str) -> str:
    import huggingface_hub
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()  # the files are small, and a bar would interrupt the list of checks
    return str(
        huggingface_hub.snapshot_download(
            model.source, revision=model.revision, cache_dir=folder, allow_patterns=WITHOUT_WEIGHTS, token=hub_token()
        )
    )


def memory(context: DoctorContext) -> Iterator[Check]:
    """Whether the weights fit into the memory of the device. Sampling and training need more than that."""
    from ..models import pick_device

    if context.shape is None:
        return
    with contextlib.suppress(ConfigError):  # a missing device has its own check
        device = pick_device(context.config.execution.device)
        dtype, merged = context.config.model.dtype, _merges(context.config.execution, device)
        yield weights(context.shape.parameters, dtype, device, *_device_memory(device), merged)


def _merges(execution: Execution, device: str) -> bool:
    """Whether vLLM gets the student as separate weights, which are merged in float32 in main memory.

    With transformers the adapter is merged in place, into weights that are counted already.
    """
    from .. import engines

    with contextlib.suppress(ConfigError):  # a missing engine has its own check
        return engines.choose_local(execution).engine == "vllm" and execution.vllm.merges_adapters(device)
    return False


def weights(parameters: int, dtype: str, device: str, total: int, free: int, merged: bool = False) -> Check:
    """Whether weights fit into the memory of `device`, and a `merged` student into main memory; sizes are in bytes."""
    needed, exact = parameters * WIDTHS[dtype], parameters * WIDTHS["float32"]
    message = (
        f"{humanize.intword(parameters)} parameters take {size(needed)} in {dtype}; sampling and training need more; "
        + (f"the student, merged in float32, takes {size(exact)} of main memory; " if merged else "")
        + f"{device} has {size(total)}, {size(free)} available"
    )
    if merged and device == "cpu":
        needed = exact
    if needed >= total:
        return Check("memory", "problem", message, "choose a smaller model, a narrower model.dtype or a larger machine")
    if needed >= free:
        command = "nvidia-smi" if device == "cuda" else "top"
        return Check("memory", "warning", message, f"end other programs that use the memory; `{command}` lists them")
    return Check("memory", "ok", message)


def _device_memory(device: str) -> tuple[int, int]:
    if device != "cuda":
        return main_memory()
    import torch

    free, total = torch.cuda.mem_get_info()
    return total, free
