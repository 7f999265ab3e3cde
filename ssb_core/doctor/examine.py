"""What stands in the way of a run, found out before it: installation, machine, engine, data, model, store.

An `Examination` looks at one thing and says what it found as `Check`s, each with what to do if something is wrong. One
that fails, or takes too long, is told as a problem and keeps no other from being made. Nothing is changed: no store is
made, no model converted or downloaded.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from ..config import RunConfig
from ..config.secrets import redact
from ..errors import ConfigError
from . import disk as room
from . import installation, machine, model, problems
from .checks import Check, Examination, Status
from .context import Patient

if TYPE_CHECKING:
    from ..store import Store

__all__ = ["Check", "Examination", "Status", "examinations", "examine", "failure"]


def examinations(store: Store, config: RunConfig | None = None) -> list[Examination]:
    """What there is to look at: installation and machine; with a configuration, also what that one needs."""
    looks = [
        Examination("installation", "python", installation.python),
        Examination("installation", "packages", installation.packages),
        Examination("installation", "imports", installation.imports, 120),
        Examination("installation", "hub token", installation.hub_token),
        Examination("machine", "processor", machine.processor),
        Examination("machine", "gpu", partial(machine.gpus, config)),
        Examination("machine", "device", partial(machine.device, config)),
        Examination("machine", "open files", machine.open_files),
        Examination("engine", "engine", partial(machine.engine, config)),
        Examination("engine", "workers", partial(machine.workers, config)),
    ]
    place = Examination("store", "store", partial(room.directory, store))
    return [*looks, *_needed(Patient(store, config), place)] if config else [*looks, place]


def _needed(patient: Patient, place: Examination) -> Iterator[Examination]:
    """What only a configuration has: each problem set on its own, then the model, then room for the results."""
    for name, wanted in patient.wanted.items():
        yield Examination("data", name, partial(problems.problem_set, patient, name, wanted), 300)
    yield Examination("data", "target", partial(problems.target, patient))
    yield Examination("model", "model", partial(model.model, patient), 120)
    yield Examination("model", "use", partial(model.usable, patient), 120)
    yield Examination("model", "memory", partial(model.memory, patient))
    yield place
    yield Examination("store", "disk", partial(room.disk, patient))


def examine(wanted: Iterable[Examination]) -> Iterator[tuple[str, Check]]:
    """Every check with its group, as it is made. An examination that fails or hangs is itself a check."""
    for examination in wanted:
        for check in _bounded(examination):
            yield examination.group, check


def _bounded(examination: Examination) -> Iterator[Check]:
    """Its checks; what hangs is left behind in its thread, which ends with the process."""
    told: queue.SimpleQueue[Check | None] = queue.SimpleQueue()
    threading.Thread(target=_tell, args=(examination, told), daemon=True).start()
    deadline = time.monotonic() + examination.seconds
    try:
        while (check := told.get(timeout=max(deadline - time.monotonic(), 0))) is not None:
            yield check
    except queue.Empty:
        found = f"no answer within {examination.seconds:g} s"
        yield Check(examination.name, "problem", found, "look for a network or disk that hangs, then try again")


def _tell(examination: Examination, told: queue.SimpleQueue[Check | None]) -> None:
    try:
        for check in examination.look():
            told.put(check)
    except BaseException as e:  # broken native libraries raise anything, also what is no Exception
        told.put(failure(examination.name, e))
    finally:
        told.put(None)


def failure(name: str, error: BaseException) -> Check:
    """An error as a check: with the remedy that a `ConfigError` brings along, and without any token."""

    found, _, remedy = redact(str(error)).partition("\n  remedy: ")
    if not isinstance(error, ConfigError):
        found = f"{type(error).__name__}: {found:.300}"
    return Check(name, "problem", " ".join(found.split()), " ".join(remedy.split()))
