"""The store of a run: can it be written to, and is there room for what the configuration makes."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..results.wording import size
from .checks import Check, Status, nearest
from .context import TRAINING, WIDTHS, Patient, Shape

if TYPE_CHECKING:
    from ..models import ResolvedModel
    from ..runs.disk_estimate import Sizes, StoreEstimate
    from ..runs.pipeline import Pipeline
    from ..store import Store

QUESTION = 1000  # bytes of a question where none is here; GSM8K's and MATH's are shorter on average


def directory(store: Store) -> Iterator[Check]:
    """Whether results can be written to the store, or a store be made; at a URL, to its cache here."""
    if store.remote:
        store.check()
        yield Check("store", "ok", f"{store.remote.url} can be read; its cache on this machine follows")
    root = store.root.absolute()
    there = nearest(root)
    where = f"{root}" + ("" if there == root else " (to be made)")
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
    from ..runs import disk_estimate

    counts = {name: patient.sets.get(name, wanted.limit) for name, wanted in patient.wanted.items()}
    known = {name: count for name, count in counts.items() if count is not None}
    if patient.model is None or patient.shape is None or len(known) < len(counts):
        why = "no estimate without the model, and every problem set or its limit"
        yield Check("disk", "warning", why, "see data and model")
        return
    store, pipeline = patient.store, patient.pipeline()
    kept, whole = _kept(pipeline, store) if pipeline else (0, False)
    if whole:
        yield Check("disk", "ok", f"nothing more is needed: the whole run is in the store ({size(kept)})")
        return
    sizes = _sizes(patient, patient.model, patient.shape, known)
    bound = disk_estimate.estimate(patient.config, sizes)
    lengths = disk_estimate.measured(store, patient.model.identity, patient.config)
    usual = disk_estimate.estimate(patient.config, sizes, lengths) if lengths else None
    check = room(bound, usual, kept, shutil.disk_usage(nearest(store.root)).free)
    by_limit = "" if pipeline else "; problem sets that are not here are counted by their limit"
    yield replace(check, found=check.found + by_limit)


def _sizes(patient: Patient, model: ResolvedModel, shape: Shape, counts: Mapping[str, int]) -> Sizes:
    """What decides the store's size; problems that are not here count with a usual question."""
    from .. import problems
    from ..models import gguf
    from ..prompts import tutor_messages
    from ..runs.disk_estimate import Sizes

    config, here = patient.config, TRAINING in patient.sets
    questions = (p.question for p in problems.load_problems(config.problems)) if here else ("?" * QUESTION,)
    asked = (tutor_messages(question, config.prompts.few_shot) for question in questions)
    lengths = [sum(len(m["content"].encode()) for m in prompt) for prompt in asked]
    to_convert = model.gguf is not None and not gguf.is_complete(Path(model.source))
    return Sizes(
        problems=counts[TRAINING],
        evaluated=sum(counts[b.name] for b in config.evaluate.limited_benchmarks()),
        answered=sum(counts[b.name] * config.evaluate.samples_of(b) for b in config.evaluate.limited_benchmarks()),
        prompt_bytes=sum(lengths) // len(lengths),
        hidden_size=shape.hidden_size,
        vocabulary=shape.vocabulary,
        lora_width=shape.lora_width,
        converted=WIDTHS["float32"] * shape.parameters if to_convert else 0,
        weights=WIDTHS[config.model.dtype] * shape.parameters,
    )


def _kept(pipeline: Pipeline, store: Store) -> tuple[int, bool]:
    """Bytes of the run's finished requests, and whether those are all there is to do."""
    from ..errors import StoreError
    from ..stages import finished

    kept, whole = 0, True
    try:
        with store.looking_once():
            for step in pipeline.walk(store):
                manifest = finished(step.spec, store)
                kept += sum(entry.bytes for entry in manifest.files) if manifest else 0
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
