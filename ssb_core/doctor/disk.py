"""Checks of the store: can it be written to, and does the disk have enough space for a run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..results.wording import size
from ..store import obstacle_to_writing
from .checks import Check, CheckStatus, nearest
from .context import TRAINING, WIDTHS, DoctorContext

if TYPE_CHECKING:
    from ..models import ResolvedModel, Shape
    from ..runs.disk_estimate import Sizes, StoreEstimate
    from ..runs.pipeline import Pipeline
    from ..store import Store

QUESTION = 1000  # bytes of a question if no problem is here; those of GSM8K and MATH are shorter on average


def directory(store: Store) -> Iterator[Check]:
    """Whether the store can be written to, or created. For a store at a URL, this also checks its cache here."""
    if store.remote:
        store.check()
        yield Check("store", "ok", f"{store.remote.url} can be read; its cache on this machine follows")
    root = store.root.absolute()
    existing = nearest(root)
    if obstacle := obstacle_to_writing(root):
        yield Check("store", "problem", obstacle, "make it writable, or choose another with --store DIR")
        return
    where = f"{root}" + ("" if existing == root else " (to be created)")
    yield Check("store", "ok", f"{where}, {size(shutil.disk_usage(existing).free)} free")


def space(context: DoctorContext) -> Iterator[Check]:
    """The space that the run needs in the store, compared with what is free."""
    from ..runs import disk_estimate

    counts = {name: context.problem_counts.get(name, config.limit) for name, config in context.problem_sets.items()}
    known = {name: count for name, count in counts.items() if count is not None}
    if context.model is None or context.shape is None or len(known) < len(counts):
        message = "an estimate needs the model, and every problem set or its limit"
        yield Check("disk", "warning", message, "see data and model")
        return
    store, pipeline = context.store, context.load_pipeline()
    kept, complete = _kept(pipeline, store) if pipeline else (0, False)
    if complete:
        yield Check("disk", "ok", f"nothing more is needed: the whole run is in the store ({size(kept)})")
        return
    sizes = _sizes(context, context.model, context.shape, known)
    bound = disk_estimate.estimate(context.config, sizes)
    lengths = disk_estimate.measured(store, context.model.identity, context.config)
    usual = disk_estimate.estimate(context.config, sizes, lengths) if lengths else None
    check = compare_with_free(bound, usual, kept, shutil.disk_usage(nearest(store.root)).free)
    by_limit = "" if pipeline else "; problem sets that are not here are counted by their limit"
    yield replace(check, message=check.message + by_limit)


def _sizes(context: DoctorContext, model: ResolvedModel, shape: Shape, counts: Mapping[str, int]) -> Sizes:
    """The numbers that decide the store's size. If the training problems are not here, a typical length is assumed."""
    from .. import problems
    from ..models import gguf
    from ..prompts import tutor_messages
    from ..runs.disk_estimate import Sizes

    config, here = context.config, TRAINING in context.problem_counts
    questions = (p.question for p in problems.load_problems(config.problems)) if here else ("?" * QUESTION,)
    prompts = (tutor_messages(question, config.prompts.few_shot) for question in questions)
    lengths = [sum(len(m["content"].encode()) for m in prompt) for prompt in prompts]
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
    """Bytes of the run's finished requests, and whether all of its requests are finished."""
    from ..errors import StoreError
    from ..stages import finished

    kept, complete = 0, True
    try:
        with store.looking_once():
            for step in pipeline.walk(store):
                manifest = finished(step.spec, store)
                kept += sum(entry.bytes for entry in manifest.files) if manifest else 0
                complete = complete and manifest is not None
    except StoreError:  # the last wave is not taught yet, so the requests after it are unknown
        complete = False
    return kept, complete


def compare_with_free(bound: StoreEstimate, usual: StoreEstimate | None, kept: int, free: int) -> Check:
    """Compare the estimates with the `free` bytes.

    Too little space for the upper bound is only a warning if it is enough for the `usual` lengths of this store.
    """
    parts = ", ".join(f"{name} {size(n)}" for name, n in bound.parts.items())
    message = f"at most {size(bound.peak)} ({parts})"
    message += f", about {size(usual.peak)} with completions of the usual length" if usual else ""
    message += f"; {size(kept)} of this is in the store already" if kept else ""
    if bound.peak - kept < free:
        return Check("disk", "ok", message)
    status: CheckStatus = "warning" if usual and usual.peak - kept < free else "problem"
    return Check(
        "disk",
        status,
        f"{message}; only {size(free)} are free",
        "free some space, or choose another disk with --store DIR",
    )
