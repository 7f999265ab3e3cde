"""The model of a configuration: can it be had, does it fit the method, and does it fit into memory."""

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
from .context import WIDTHS, Patient, Shape
from .machine import main_memory

if TYPE_CHECKING:
    from ..models import ResolvedModel

READABLE = ["*.json", "*.jinja", "*.model", "*.txt"]  # of a model on the hub: all but its weights


def model(patient: Patient) -> Iterator[Check]:
    """Whether the model can be had: here already, to be converted, or to be downloaded."""
    from .. import models
    from ..models import gguf

    wanted = patient.config.model
    patient.model = found = models.resolve(wanted, patient.store.root)
    if found.revision is not None:
        yield _on_the_hub(found)
    elif found.gguf is not None:
        done = gguf.is_complete(Path(found.source))
        yield Check("model", "ok", f"{found.gguf}, {'converted' if done else 'to be converted once, into the store'}")
    else:
        yield Check("model", "ok", f"{'nano, embedded' if wanted.source == 'nano' else found.source}")


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
    found = f"{name}, to be downloaded: {size(needed)} into {cache}, {size(free)} free there"
    if needed < free:
        return Check("model", "ok", found)
    return Check("model", "problem", found, "HF_HOME=FOLDER on a disk with more room")


def usable(patient: Patient) -> Iterator[Check]:
    """What `models.check` tries without the weights: head, tokenizer, chat template, end of turn, context."""
    from .. import models

    if patient.model is None:
        return
    with _readable(patient.model) as readable:
        if pipeline := patient.pipeline():
            # The device and the engine have checks of their own, so what is wrong with them is not told again here.
            plain = pipeline.config.model_copy(update={"execution": Execution(engine="transformers")})
            replace(pipeline, config=plain, model=readable).check_model(weights=readable is patient.model)
        else:
            models.check(readable, "auto", _example(patient.config))
        patient.shape = _shape(readable)
        context = models.context_length(readable)
    found = f"architecture, tokenizer, chat template and end of turn fit; context {context:,} tokens"
    yield Check("use", "ok", found + ("" if pipeline else " (tried on an example: not all problems are here)"))


def _example(config: RunConfig) -> dict[str, tuple[Messages, int]]:
    """What `models.check` tries where no problems are here to try it on."""
    asked = tutor_messages("What is 2 + 3?", config.prompts.few_shot)
    stages = {"rollouts": config.rollouts, "teach": config.teach, "evaluate": config.evaluate}
    return {f"{name}.max_new_tokens": (asked, stage.max_new_tokens) for name, stage in stages.items()}


@contextlib.contextmanager
def _readable(model: ResolvedModel) -> Iterator[ResolvedModel]:
    """The model with a configuration and a tokenizer to read: what is not here yet is put into a temporary folder."""
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

    disable_progress_bars()  # the files are small, and the bar would stand between checks
    return str(
        huggingface_hub.snapshot_download(
            model.source, revision=model.revision, cache_dir=folder, allow_patterns=READABLE, token=hub_token()
        )
    )


def _shape(model: ResolvedModel) -> Shape:
    """Counted on the architecture without weights, whose layers are those that an adapter gets."""
    import torch

    from .. import models

    empty = models.empty(models.load_config(model))
    head = empty.get_output_embeddings()
    adapted = [m for m in empty.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    width = sum(m.in_features + m.out_features for m in adapted)
    vocabulary, hidden_size = head.weight.shape
    return Shape(sum(p.numel() for p in empty.parameters()), hidden_size, vocabulary, width)


def memory(patient: Patient) -> Iterator[Check]:
    """The weights against the memory of the device; what is computed with them needs more."""
    from ..models import pick_device

    if patient.shape is None:
        return
    with contextlib.suppress(ConfigError):  # a device that is not here is told by its own check
        taken = pick_device(patient.config.execution.device)
        dtype, merged = patient.config.model.dtype, _merges(patient.config.execution, taken)
        yield weights(patient.shape.parameters, dtype, taken, *_device_memory(taken), merged)


def _merges(execution: Execution, taken: str) -> bool:
    """Whether vLLM is given the student as weights of its own, which are added up in float32 in main memory.

    With transformers it is added up in place, in the weights that are counted already.
    """
    from .. import engines

    with contextlib.suppress(ConfigError):  # an engine that is not here is told by its own check
        return engines.choose_local(execution).engine == "vllm" and execution.vllm.merges_adapters(taken)
    return False


def weights(parameters: int, dtype: str, taken: str, total: int, free: int, merged: bool = False) -> Check:
    """What a model's weights take of the memory of the device `taken`, and of main memory where they are `merged`."""
    needed, exact = parameters * WIDTHS[dtype], parameters * WIDTHS["float32"]
    found = (
        f"{humanize.intword(parameters)} parameters take {size(needed)} in {dtype}, sampling and training more; "
        + (f"the student, merged in float32, {size(exact)} of main memory; " if merged else "")
        + f"{taken} has {size(total)}, {size(free)} available"
    )
    if merged and taken == "cpu":
        needed = exact
    if needed >= total:
        return Check("memory", "problem", found, "choose a smaller model, a narrower model.dtype or a larger machine")
    if needed >= free:
        lists = "nvidia-smi" if taken == "cuda" else "top"
        return Check("memory", "warning", found, f"end what else holds the memory; `{lists}` lists it")
    return Check("memory", "ok", found)


def _device_memory(taken: str) -> tuple[int, int]:
    if taken != "cuda":
        return main_memory()
    import torch

    free, total = torch.cuda.mem_get_info()
    return total, free
