"""What a configuration needs: its problem sets, its model, and room in the store."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import ConfigError, Execution, ProblemsConfig, RunConfig
from .checks import Check, Status, count, nearest, size
from .machine import main_memory

if TYPE_CHECKING:
    from ..estimate import Sizes, StoreEstimate
    from ..models import ResolvedModel
    from ..pipeline import Pipeline
    from ..store import Store

TRAINING = "to learn from"  # the name of the set beside those of benchmarks, none of which has a space
WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
READABLE = ["*.json", "*.jinja", "*.model", "*.txt"]  # of a model on the hub: all but its weights


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a model's architecture decides memory and disk."""

    parameters: int
    hidden_size: int
    lora_width: int


@dataclass(slots=True)
class Patient:
    """What is examined, and what was found out that later examinations need."""

    store: Path
    config: RunConfig
    model: ResolvedModel | None = None
    shape: Shape | None = None
    sets: dict[str, int] = field(default_factory=dict)

    def pipeline(self) -> Pipeline | None:
        """The run's requests, if the model and every problem set are there."""
        from .. import problems
        from ..pipeline import Pipeline

        wanted = {TRAINING, *(b.name for b in self.config.evaluate.benchmarks)}
        if self.model is None or wanted - set(self.sets):
            return None
        return Pipeline(self.config, self.model, problems.load(self.config.problems))


def problem_set(patient: Patient, name: str, wanted: ProblemsConfig) -> Iterator[Check]:
    """Whether a problem set loads, and what of it cannot be used; one still on the hub is asked for there."""
    from .. import problems

    if not _is_here(wanted):
        yield _on_hub(name, wanted)
        return
    usable, left_out = problems.load(wanted), problems.rejections(wanted)
    patient.sets[name] = len(usable)
    found = f"{len(usable):,} problem{'s' * (len(usable) > 1)} of {wanted.source}"
    if not left_out:
        yield Check(name, "ok", found)
        return
    first = f"{left_out[0].problem_id!r:.60} ({left_out[0].reason})"
    found += f"; {len(left_out):,} left out, whose reference answer cannot be used, first {first}"
    remedy = "correct their answers, or do without them; `ssb plan` and a run's report name them"
    yield Check(name, "warning", found, remedy)


def target(patient: Patient) -> Iterator[Check]:
    """Whether there are problems enough for as many traces as are wanted."""
    wanted = patient.config.target_traces
    there = patient.sets.get(TRAINING, wanted)
    if there < wanted:
        found = f"target_traces is {wanted:,}, but a problem teaches one trace at most, and there are {there:,}"
        yield Check("target", "warning", found, f"--set target_traces={there}, or more problems")


def _is_here(wanted: ProblemsConfig) -> bool:
    """Whether loading a set needs no download: it is embedded, a file (there or not), or in the hub cache."""
    from .. import problems

    path = Path(os.path.expandvars(wanted.source)).expanduser()
    if wanted.source in problems.EMBEDDED or path.exists() or "$" in str(path):
        return True
    if path.suffix in (".jsonl", ".ndjson", ".parquet"):
        return True
    from datasets import config

    return (Path(config.HF_DATASETS_CACHE) / wanted.source.replace("/", "___")).is_dir()


def _on_hub(name: str, wanted: ProblemsConfig) -> Check:
    from huggingface_hub import HfApi

    from ..models import hub

    try:
        HfApi(token=hub.token()).dataset_info(wanted.source, timeout=hub.TIMEOUT)
    except Exception as e:  # as with models, the hub's client raises dozens of unrelated types
        found = f"{wanted.source} is no file here, not in the hub cache and not to be had from the hub"
        remedy = "check the name and the network, or give a local .jsonl or .parquet file"
        return Check(name, "problem", f"{found} ({type(e).__name__})", remedy)
    return Check(name, "ok", f"{wanted.source} is on the hub, to be downloaded; `ssb plan` does it and reads all of it")


def model(patient: Patient) -> Iterator[Check]:
    """Whether the model can be had: here already, to be converted, or to be downloaded."""
    from .. import models
    from ..models import gguf

    wanted = patient.config.model
    patient.model = found = models.resolve(wanted, patient.store)
    if found.revision is not None:
        yield _on_the_hub(found)
    elif found.gguf is not None:
        done = gguf.whole(Path(found.source))
        yield Check("model", "ok", f"{found.gguf}, {'converted' if done else 'to be converted once, into the store'}")
    else:
        yield Check("model", "ok", f"{'nano, embedded' if wanted.source == 'nano' else found.source}")


def _on_the_hub(model: ResolvedModel) -> Check:
    import huggingface_hub
    from huggingface_hub import constants

    from ..models import hub

    name = f"{model.source} at {str(model.revision)[:8]}"
    if _in_cache(model):
        return Check("model", "ok", f"{name}, in the hub cache")
    api = huggingface_hub.HfApi(token=hub.token())
    about = api.model_info(model.source, revision=model.revision, files_metadata=True, timeout=hub.TIMEOUT)
    needed = sum(f.size or 0 for f in about.siblings or () if f.rfilename.endswith(".safetensors"))
    cache = Path(constants.HF_HUB_CACHE)
    free = shutil.disk_usage(nearest(cache)).free
    found = f"{name}, to be downloaded: {size(needed)} into {cache}, {size(free)} free there"
    if needed < free:
        return Check("model", "ok", found)
    return Check("model", "problem", found, "HF_HOME=FOLDER on a disk with more room")


def _in_cache(model: ResolvedModel) -> bool:
    import huggingface_hub

    found = huggingface_hub.try_to_load_from_cache(model.source, "config.json", revision=model.revision)
    return isinstance(found, str) and any(Path(found).parent.glob("*.safetensors"))


def usable(patient: Patient) -> Iterator[Check]:
    """What `models.check` tries without the weights: head, tokenizer, chat template, end of turn, context."""
    from .. import models

    if patient.model is None:
        return
    with _readable(patient.model) as readable:
        if pipeline := patient.pipeline():
            # The device and the engine have checks of their own, so what is wrong with them is not told again here.
            plain = pipeline.config.model_copy(update={"execution": Execution(engine="transformers")})
            replace(pipeline, config=plain, model=readable).check_model()
        else:
            models.check(readable, "auto", {})
        patient.shape = _shape(readable)
        context = models.context_length(readable)
    found = f"architecture, tokenizer, chat template and end of turn fit; context {context:,} tokens"
    yield Check("use", "ok", found + ("" if pipeline else " (prompts are not tried: no data)"))


@contextlib.contextmanager
def _readable(model: ResolvedModel) -> Iterator[ResolvedModel]:
    """The model with a configuration and a tokenizer to read: what is not here yet is put into a temporary folder."""
    from ..models import gguf

    missing = model.revision is not None and not _in_cache(model)
    unconverted = model.gguf is not None and not gguf.whole(Path(model.source))
    if not (missing or unconverted):
        yield model
        return
    with tempfile.TemporaryDirectory(prefix="ssb-doctor-") as folder:
        source = _from_hub(model, folder) if missing else _from_gguf(Path(str(model.gguf)), folder)
        try:
            yield model.model_copy(update={"source": source, "revision": None, "gguf": None})
        except ConfigError as e:
            raise ConfigError(str(e).replace(source, model.gguf or model.source)) from None


def _from_hub(model: ResolvedModel, folder: str) -> str:
    import huggingface_hub
    from huggingface_hub.utils import disable_progress_bars

    from ..models import hub

    disable_progress_bars()  # the files are small, and the bar would stand between checks
    return str(
        huggingface_hub.snapshot_download(
            model.source, revision=model.revision, cache_dir=folder, allow_patterns=READABLE, token=hub.token()
        )
    )


def _from_gguf(file: Path, folder: str) -> str:
    from transformers import AutoConfig, AutoTokenizer

    AutoConfig.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
    return folder


def _shape(model: ResolvedModel) -> Shape:
    """Counted on the architecture without weights, whose layers are those that an adapter gets."""
    import torch
    from transformers import AutoModelForCausalLM

    from .. import models

    config = models.load_config(model)
    with torch.device("meta"):
        empty: Any = AutoModelForCausalLM.from_config(config)
    head = empty.get_output_embeddings()
    adapted = [m for m in empty.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    width = sum(m.in_features + m.out_features for m in adapted)
    return Shape(sum(p.numel() for p in empty.parameters()), int(head.weight.shape[1]), width)


def memory(patient: Patient) -> Iterator[Check]:
    """The weights against the memory of the device; what is computed with them needs more."""
    from ..models import pick_device

    if patient.shape is None:
        return
    with contextlib.suppress(ConfigError):  # a device that is not here is told by its own check
        taken = pick_device(patient.config.execution.device)
        yield weights(patient.shape.parameters, patient.config.model.dtype, taken, *_device_memory(taken))


def weights(parameters: int, dtype: str, taken: str, total: int, free: int) -> Check:
    """What a model's weights take of the memory of the device `taken`."""
    needed = parameters * WIDTHS[dtype]
    found = (
        f"{count(parameters)} parameters take {size(needed)} in {dtype}, sampling and training more; {taken} has "
        f"{size(total)}, {size(free)} available"
    )
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


def directory(store: Path) -> Iterator[Check]:
    """Whether results can be written to the store, or a store be made."""
    there = nearest(store)
    where = f"{store.absolute()}" + ("" if there == store.absolute() else " (to be made)")
    free = shutil.disk_usage(there).free
    if not there.is_dir():
        yield Check(
            "store", "problem", f"{there} is a file; results need a directory", "choose another with --store DIR"
        )
    elif not os.access(there, os.W_OK | os.X_OK):
        remedy = f"chmod u+w {shlex.quote(str(there))}, or choose another with --store DIR"
        yield Check("store", "problem", f"{there} cannot be written to by this user", remedy)
    else:
        yield Check("store", "ok", f"{where}, {size(free)} free")


def disk(patient: Patient) -> Iterator[Check]:
    """What the run may take in the store against what is free there."""
    from .. import estimate
    from ..store import Store

    pipeline, shape = patient.pipeline(), patient.shape
    if pipeline is None or shape is None:
        yield Check("disk", "warning", "no estimate without the model and every problem set", "see data and model")
        return
    store = Store(patient.store)
    kept, whole = _kept(pipeline, store)
    if whole:
        yield Check("disk", "ok", f"nothing more is needed: the whole run is in the store ({size(kept)})")
        return
    sizes = _sizes(pipeline, shape, patient.sets)
    bound = estimate.estimate(patient.config, sizes)
    lengths = estimate.measured(store, pipeline.model.identity, patient.config)
    usual = estimate.estimate(patient.config, sizes, lengths) if lengths else None
    yield room(bound, usual, kept, shutil.disk_usage(nearest(patient.store)).free)


def _sizes(pipeline: Pipeline, shape: Shape, sets: Mapping[str, int]) -> Sizes:
    from ..estimate import Sizes
    from ..models import gguf
    from ..prompts import tutor_messages

    config, made = pipeline.config, pipeline.model
    asked = [tutor_messages(p.question, config.prompts.few_shot) for p in pipeline.problems]
    to_convert = made.gguf is not None and not gguf.whole(Path(made.source))
    return Sizes(
        problems=len(asked),
        evaluated=sum(sets[b.name] for b in config.evaluate.benchmarks),
        prompt_bytes=sum(len(m["content"].encode()) for prompt in asked for m in prompt) // len(asked),
        hidden_size=shape.hidden_size,
        lora_width=shape.lora_width,
        converted=WIDTHS["float32"] * shape.parameters if to_convert else 0,
    )


def _kept(pipeline: Pipeline, store: Store) -> tuple[int, bool]:
    """Bytes of the run's finished requests, and whether those are all there is to do."""
    from ..stages import finished
    from ..store import StoreError

    kept, whole = 0, True
    try:
        for request in pipeline.walk(store):
            manifest = finished(request.spec, store)
            kept += sum(entry.bytes for entry in manifest.entries) if manifest else 0
            whole = whole and manifest is not None
    except StoreError:  # the last wave is not taught yet, so what follows is not known
        whole = False
    return kept, whole


def room(bound: StoreEstimate, usual: StoreEstimate | None, kept: int, free: int) -> Check:
    """The estimate beside what is free; what is usual here decides whether too little is sure or only possible."""
    parts = ", ".join(f"{name} {size(n)}" for name, n in bound.parts.items())
    found = f"at most {size(bound.peak)} ({parts})"
    found += f", about {size(usual.peak)} with the completions usual here" if usual else ""
    found += f"; {size(kept)} of it are there" if kept else ""
    if bound.peak - kept < free:
        return Check("disk", "ok", found)
    status: Status = "warning" if usual and usual.peak - kept < free else "problem"
    return Check(
        "disk", status, f"{found}; only {size(free)} are free", "make room, or choose another with --store DIR"
    )
