"""Examinations of everything that could prevent a run, before it starts: installation, machine, engine, data, model,
store.

An `Examination` checks one thing and returns `Check`s, each with a remedy if something is wrong. If an examination
fails or takes too long, that is reported as a problem, and the others still run. Nothing is changed: no store is
created, and no model is converted or downloaded.
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
from . import disk, installation, machine, model, problems
from .checks import Check, Examination
from .context import DoctorContext

if TYPE_CHECKING:
    from ..store import Store


def examinations(store: Store, config: RunConfig | None = None) -> list[Examination]:
    """All examinations of installation, machine and store; with a configuration, also of everything that it needs."""
    general = [
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
    directory = Examination("store", "store", partial(disk.directory, store))
    if config is None:
        return [*general, directory]
    context = DoctorContext(store, config)
    return [*general, *_configured(context), directory, Examination("store", "disk", partial(disk.space, context))]


def _configured(context: DoctorContext) -> Iterator[Examination]:
    """Examinations that need a configuration: each problem set on its own, then the model."""
    for name, config in context.problem_sets.items():
        yield Examination("data", name, partial(problems.problem_set, context, name, config), 300)
    yield Examination("data", "target", partial(problems.target, context))
    yield Examination("model", "model", partial(model.model, context), 120)
    yield Examination("model", "use", partial(model.usable, context), 120)
    yield Examination("model", "memory", partial(model.memory, context))


def before_run(context: DoctorContext) -> list[Examination]:
    """The examinations of what one run needs. They are quick, and the rest is the same for every run."""
    store, config = context.store, context.config
    return [
        Examination("store", "store", partial(disk.directory, store)),
        Examination("machine", "device", partial(machine.device, config)),
        Examination("engine", "engine", partial(machine.engine, config)),
        Examination("engine", "workers", partial(machine.workers, config)),
        *_configured(context),
        Examination("store", "disk", partial(disk.space, context)),
    ]


def examine(examinations: Iterable[Examination]) -> Iterator[tuple[str, Check]]:
    """Yield every check with its group as soon as it is made."""
    for examination in examinations:
        for check in _bounded(examination):
            yield examination.group, check


def _bounded(examination: Examination) -> Iterator[Check]:
    """The checks of an examination, within its time. If it hangs, its thread stays until the process ends."""
    results: queue.SimpleQueue[Check | None] = queue.SimpleQueue()
    threading.Thread(target=_put_checks, args=(examination, results), daemon=True).start()
    deadline = time.monotonic() + examination.seconds
    try:
        while (check := results.get(timeout=max(deadline - time.monotonic(), 0))) is not None:
            yield check
    except queue.Empty:
        message = f"no answer within {examination.seconds:g} s"
        yield Check(examination.name, "problem", message, "look for a network or disk that hangs, then try again")


def _put_checks(examination: Examination, results: queue.SimpleQueue[Check | None]) -> None:
    """Put every check into the queue, then None."""
    try:
        for check in examination.check():
            results.put(check)
    except BaseException as e:  # broken native libraries raise anything, not only subclasses of Exception
        results.put(failure(examination.name, e))
    finally:
        results.put(None)


def failure(name: str, error: BaseException) -> Check:
    """An error as a check. It keeps the remedy of a `ConfigError` and hides tokens."""
    message, _, remedy = redact(str(error)).partition("\n  remedy: ")
    if not isinstance(error, ConfigError):
        message = f"{type(error).__name__}: {message:.300}"
    return Check(name, "problem", " ".join(message.split()), " ".join(remedy.split()))
