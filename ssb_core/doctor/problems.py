"""The problem sets of a configuration: can they be had, and what of them cannot be used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..config import ProblemsConfig
from ..config.secrets import hub_token
from .checks import Check
from .context import TRAINING, Patient


def problem_set(patient: Patient, name: str, wanted: ProblemsConfig) -> Iterator[Check]:
    """Whether a problem set loads, and what of it cannot be used; one still on the hub is asked for there."""
    from .. import problems

    if not _is_here(wanted):
        yield _on_hub(name, wanted)
        return
    usable, left_out = problems.load_problems(wanted), problems.rejections(wanted)
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
    if path.suffix in problems.FILE_SUFFIXES:
        return True
    from datasets import config

    return (Path(config.HF_DATASETS_CACHE) / wanted.source.replace("/", "___")).is_dir()


def _on_hub(name: str, wanted: ProblemsConfig) -> Check:
    from huggingface_hub import HfApi

    from ..models import hub

    try:
        HfApi(token=hub_token()).dataset_info(wanted.source, timeout=hub.TIMEOUT)
    except Exception as e:  # as with models, the hub's client raises dozens of unrelated types
        found = f"{wanted.source} is no file here, not in the hub cache and not to be had from the hub"
        remedy = "check the name and the network, or give a local .jsonl or .parquet file"
        return Check(name, "problem", f"{found} ({type(e).__name__})", remedy)
    return Check(name, "ok", f"{wanted.source} is on the hub, to be downloaded; `ssb plan` does it and reads all of it")
