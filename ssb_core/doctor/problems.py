"""Checks of the problem sets: can they be loaded, and are all of their problems usable."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..config import ProblemsConfig
from ..config.secrets import hub_token
from ..results.wording import count
from .checks import Check
from .context import TRAINING, DoctorContext


def problem_set(context: DoctorContext, name: str, config: ProblemsConfig) -> Iterator[Check]:
    """Whether a problem set can be loaded, and how many problems are unverifiable.

    If it would have to be downloaded, only its existence on the hub is checked.
    """
    from .. import problems

    if not _is_local(config):
        yield _on_hub(name, config)
        return
    usable, unverifiable = problems.load_problems(config), problems.rejections(config)
    context.problem_counts[name] = len(usable)
    message = f"{count(len(usable), 'problem')} of {config.source}"
    if not unverifiable:
        yield Check(name, "ok", message)
        return
    first = f"{unverifiable[0].problem_id!r:.60} ({unverifiable[0].reason})"
    message += f"; {len(unverifiable):,} left out, because their reference answers cannot be used, first {first}"
    remedy = "correct their answers, or run without them; `ssb plan` and a run's report list them"
    yield Check(name, "warning", message, remedy)


def target(context: DoctorContext) -> Iterator[Check]:
    """Whether there are enough problems for the configured number of traces."""
    traces = context.config.target_traces
    available = context.problem_counts.get(TRAINING, traces)
    if available < traces:
        message = f"target_traces is {traces:,}, but each problem gives at most one trace, and there are {available:,}"
        yield Check("target", "warning", message, f"--set target_traces={available}, or more problems")


def _is_local(config: ProblemsConfig) -> bool:
    """Whether loading a set needs no download: it is embedded, a file (even a missing one), or in the hub cache."""
    from .. import problems

    path = Path(os.path.expandvars(config.source)).expanduser()
    if config.source in problems.EMBEDDED or path.exists() or "$" in str(path):
        return True
    if path.suffix in problems.FILE_SUFFIXES:
        return True
    from datasets import config as datasets_config

    return (Path(datasets_config.HF_DATASETS_CACHE) / config.source.replace("/", "___")).is_dir()


def _on_hub(name: str, config: ProblemsConfig) -> Check:
    from huggingface_hub import HfApi

    from ..models import hub

    try:
        HfApi(token=hub_token()).dataset_info(config.source, timeout=hub.TIMEOUT)
    except Exception as e:  # as with models, the hub's client raises dozens of unrelated types
        message = f"{config.source} is not a file here, not in the hub cache and not available from the hub"
        remedy = "check the name and the network, or give a local .jsonl or .parquet file"
        return Check(name, "problem", f"{message} ({type(e).__name__})", remedy)
    return Check(
        name, "ok", f"{config.source} is on the hub and must be downloaded; `ssb plan` does that and reads all of it"
    )
