"""A run's own directory: small files that name what the run used. The rows themselves stay in the store.

runs/<name>/config.yaml    the complete configuration
runs/<name>/env.json       versions, platform, device
runs/<name>/stages.json    every finished request: stage, recipe, fingerprint, status, seconds
runs/<name>/summary.json   the result for programs
runs/<name>/report.html    the result for people

These are the files of the last try that finished. A try that is not finished has its files in a folder beside them:

runs/<name>/run.lock       held by the process that is at work
runs/<name>/unfinished/    the same files as far as they are made, and
            begun.json     every request that was begun since the run last finished
            progress.json  how far the work is, noted every few seconds
            failed.json    the error that ended the try, if one did

A try that finishes renames its whole folder to ``finished``, and then moves the files to their places. A reader looks
into ``finished`` first. So the files of a run are always those of one try, at whatever instant a process is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..config import RunConfig, commented_yaml
from ..config.secrets import hide_passwords, redact
from ..errors import ConfigError, StoreError
from ..store import Manifest, Store, delete_temporary, fsync, lock, write_json, write_text
from ..suggest import did_you_mean
from .entries import Begun, Failure, Phase, StageRun
from .environment import describes_this, environment

if TYPE_CHECKING:
    from ..stages import Spec

T = TypeVar("T")
SUMMARY_FORMAT = 5
"""The format of summary.json and stages.json. Raise it when a reader of older files would fail."""

UNFINISHED, FINISHED = "unfinished", "finished"  # folders below that of a run
FILES = ("config.yaml", "env.json", "stages.json", "report.html", "summary.json")
"""The files of a finished run, in the order in which they are moved to their places."""


@dataclass(frozen=True, slots=True)
class Run:
    """The directory of one run, and the store its rows are in. Its files are those of the last try that finished."""

    directory: Path
    store: Store

    @classmethod
    def named(cls, runs: Path, name: str, store: Store) -> Run:
        """The finished run called `name`. ``latest`` is the last one, evaluations left aside if there are others.

        Raises:
            ConfigError: there is no such run (the message lists the finished ones), or another version made it.
        """
        finished = finished_runs(runs, store)
        run = _pick(finished, name)
        if run is None:
            if other := _pick(unfinished_runs(runs, store), name):
                raise ConfigError(
                    f"run {other.name} is not finished\n  remedy: run it again, everything that it has made is reused; "
                    f"ssb report {other.name} says how far it is"
                )
            known = ", ".join(r.name for r in finished) or "none yet; start one with `ssb run --preset quickstart`"
            similar = did_you_mean(name, [r.name for r in finished])
            raise ConfigError(f"there is no finished run {name!r} in {runs} (finished runs: {known}){similar}")
        if run.load_summary().get("format") != SUMMARY_FORMAT:
            raise ConfigError(
                f"run {run.name} was made by another version of ssb\n"
                f"  remedy: run it again with --config {run.path('config.yaml')}; valid results are reused"
            )
        return run

    @classmethod
    def found(cls, runs: Path, name: str, store: Store) -> Run:
        """The run called `name`, or a `Draft` if it has never finished.

        ``latest`` is the run that finished last. If none has, it is the one that began last.

        Raises:
            ConfigError: there is no such run, or another version made it.
        """
        unfinished = _pick(unfinished_runs(runs, store), name)
        if unfinished is None or unfinished.is_finished() or (name == "latest" and finished_runs(runs, store)):
            return cls.named(runs, name, store)
        return unfinished.draft

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def draft(self) -> Draft:
        """The files of a try that is not finished, whether or not there is one."""
        return Draft(self.directory, self.store)

    def is_finished(self) -> bool:
        """Whether a try of the run has finished."""
        return self.path("summary.json").exists()

    def newest(self) -> Run:
        """The files of the try that is not finished, if there is one; else those of the last one that finished."""
        return self.draft if self.draft.exists() else self

    def began_after(self, other: Run) -> bool:
        """Whether a try of this run that is not finished began after `other` finished."""
        began = self.draft.path("config.yaml")
        return began.exists() and other.is_finished() and began.stat().st_mtime > _finished_at(other)

    def path(self, name: str) -> Path:
        """The path of one of the run's files, where it is now or would be."""
        places = self._places(name)
        return next((place for place in places if place.exists()), places[-1])

    def _places(self, name: str) -> tuple[Path, ...]:
        """The places where a file may be. It moves from each to the next."""
        return self.directory / FINISHED / name, self.directory / name

    def load_summary(self) -> dict[str, Any]:
        """The content of summary.json, which only a finished run has."""
        return self._read("summary.json", dict)

    def only_evaluates(self) -> bool:
        """Whether this is the folder of an evaluation without a pipeline, as `ssb evaluate` writes it."""
        try:
            return [*self.load_summary()["stages"]] == ["evaluate"]
        except (ConfigError, OSError, KeyError, TypeError):
            return False

    def load_stages(self) -> list[StageRun]:
        """The finished requests, in the order in which they ran."""
        return self._read("stages.json", lambda rows: [StageRun(**row) for row in rows])

    def load_environment(self) -> dict[str, Any]:
        """Versions, platform and device that the run was made with."""
        return self._read("env.json", dict)

    def _read(self, name: str, kind: Callable[[Any], T]) -> T:
        try:
            return kind(json.loads(self._read_text(name)))
        except (ValueError, TypeError) as e:
            raise ConfigError(
                f"{self.path(name)} is damaged ({e})\n"
                "  remedy: the command that made the run makes it anew from the store"
            ) from None

    def _read_text(self, name: str) -> str:
        """The text of a file, though another process may move it right now."""
        *places, last = self._places(name)
        for place in places:
            with contextlib.suppress(FileNotFoundError):
                return place.read_text(encoding="utf-8")
        return last.read_text(encoding="utf-8")

    def manifests(self, stage: str) -> list[Manifest]:
        """The finished requests of one stage, in the order they ran.

        For stages before evaluate, these are the requests of the first round, without those for a baseline alone.

        Raises:
            StoreError: the store no longer has one of them.
        """
        manifests = []
        for s in self.load_stages():
            own = s.round == 1 and not (stage == "teach" and s.model)
            if s.stage == stage and (own or stage == "evaluate"):
                manifest = self.store.manifest_by_name(s.stage, s.recipe, s.fingerprint)
                if manifest is None:
                    raise StoreError(f"run {self.name}: {self.store.root} no longer has its {s.label}; run it again")
                manifests.append(manifest)
        return manifests

    @contextlib.contextmanager
    def exclusive(self, on_wait: Callable[[str], None]) -> Iterator[None]:
        """Be the only process that works on this run within the block.

        While another one does, wait and pass `on_wait` a message that says for which.
        """
        path = self._lock
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(lock.acquire(path, f"run {self.name}", on_wait))
            except OSError as e:
                e.filename = e.filename or str(path)  # errors of write() do not name the file
                raise
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def holder(self) -> lock.Owner | None:
        """The process that works on this run now."""
        return lock.holder(self._lock)

    @property
    def _lock(self) -> Path:
        return self.directory / "run.lock"

    def begin(self, config: RunConfig) -> Draft:
        """Begin a try: write down its configuration and environment before anything runs. Finished files stay."""
        self.directory.mkdir(parents=True, exist_ok=True)
        delete_temporary(self.directory)
        self.settle()
        draft = self.draft
        draft.start(config)
        return draft

    def settle(self) -> None:
        """Move the files of a finished try to their places, if a process was killed before it had done that."""
        folder = self.directory / FINISHED
        if folder.exists():
            for name in FILES:
                with contextlib.suppress(FileNotFoundError):
                    os.replace(folder / name, self.directory / name)
            fsync(self.directory)
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Draft(Run):
    """The same run, but its files are those of a try that is not finished."""

    def exists(self) -> bool:
        """Whether there is such a try."""
        return self.path("config.yaml").exists()

    def _places(self, name: str) -> tuple[Path, ...]:
        return (self.directory / UNFINISHED / name,)

    def start(self, config: RunConfig) -> None:
        """Replace the files of an earlier try, except for the list of the requests that were begun."""
        for name in ("failed.json", "progress.json", "stages.json", "report.html", "summary.json"):
            self.path(name).unlink(missing_ok=True)  # they may belong to another configuration
        try:
            self.load_begun()
        except ConfigError:
            self.path("begun.json").unlink()  # a damaged list is lost
        write_text(self.path("config.yaml"), commented_yaml.dump(config))
        self._note_environment(config)

    def _note_environment(self, config: RunConfig) -> None:
        for earlier in (self, Run(self.directory, self.store)):
            with contextlib.suppress(FileNotFoundError, ConfigError):  # a damaged file is replaced
                if describes_this(noted := earlier.load_environment()):
                    write_json(self.path("env.json"), noted)
                    return
        write_json(self.path("env.json"), environment(config))

    def load_stages(self) -> list[StageRun]:
        """The requests that are finished so far, in the order in which they ran."""
        return self._read("stages.json", lambda rows: [StageRun(**r) for r in rows]) if self._has("stages.json") else []

    def load_begun(self) -> list[Begun]:
        """The requests that were begun since the run last finished, by this try or earlier ones; the last one last."""
        return self._read("begun.json", lambda rows: [Begun(**row) for row in rows]) if self._has("begun.json") else []

    def load_phase(self) -> Phase | None:
        """How far the last phase of the work was when it was noted; None if nothing readable is."""
        return self._read_note("progress.json", Phase)

    def load_failure(self) -> Failure | None:
        """The error that ended the try; None if none did, because it is at work or was interrupted."""
        return self._read_note("failed.json", Failure)

    def _has(self, name: str) -> bool:
        return self.path(name).exists()

    def _read_note(self, name: str, kind: Callable[..., T]) -> T | None:
        with contextlib.suppress(ConfigError):
            return self._read(name, lambda values: kind(**values)) if self._has(name) else None
        return None

    def note_begun(self, spec: Spec, label: str) -> None:
        """Note that a request begins, and its parts, so that `garbage` keeps their files in the store."""
        from ..stages.execute import parts

        now = [Begun(s.stage, s.recipe.hash, s.fingerprint, label, time.time()) for s in (*parts(spec), spec)]
        names = {b.fingerprint for b in now}
        earlier = (b for b in self.load_begun() if b.fingerprint not in names)
        write_json(self.path("begun.json"), [asdict(b) for b in (*earlier, *now)])

    def note_finished(self, stages: list[StageRun]) -> None:
        """Write down the finished requests so far, for pages that are made before the run ends, or if it fails."""
        write_json(self.path("stages.json"), [asdict(s) for s in stages])

    def note_phase(self, phase: Phase) -> None:
        """Note how far the work is."""
        with contextlib.suppress(OSError):  # the work itself notices a full disk
            write_json(self.path("progress.json"), asdict(phase))

    def note_failure(self, stage: str, label: str, error: Exception) -> None:
        """Note the error that ends the try, and where it happened."""
        failure = Failure(stage, label, type(error).__name__, hide_passwords(redact(str(error))), time.time())
        with contextlib.suppress(OSError):  # the error itself matters more
            write_json(self.path("failed.json"), asdict(failure))

    def finish(self, stages: list[StageRun], summary: dict[str, Any]) -> None:
        """Write down all requests and the summary. Write the report before you call `publish`."""
        self.note_finished(stages)
        newest = max(map(_finished_at, finished_runs(self.directory.parent, self.store)), default=0.0)
        path = self.path("summary.json")
        write_json(path, summary)
        if path.stat().st_mtime <= newest:  # the clock went back, but this run is still the latest
            os.utime(path, (newest + 1, newest + 1))

    def publish(self) -> None:
        """Replace the files of the finished run by those of this try, which are whole."""
        self.settle()
        os.rename(self.directory / UNFINISHED, self.directory / FINISHED)
        fsync(self.directory)
        self.settle()


def finished_runs(runs: Path, store: Store) -> list[Run]:
    """The finished runs in a folder, the one that finished last at the end."""
    return _runs(runs, store, ("summary.json", f"{FINISHED}/summary.json"), _finished_at)


def unfinished_runs(runs: Path, store: Store) -> list[Run]:
    """The runs in a folder with a try that is not finished, the one that began last at the end."""
    return _runs(runs, store, (f"{UNFINISHED}/config.yaml",), lambda r: r.draft.path("config.yaml").stat().st_mtime)


def _runs(runs: Path, store: Store, files: tuple[str, ...], when: Callable[[Run], float]) -> list[Run]:
    """The runs in a folder that have one of some files, by time."""
    names = sorted(p.name for p in runs.iterdir()) if runs.is_dir() else []
    return sorted((Run(runs / n, store) for n in names if any((runs / n / f).exists() for f in files)), key=when)


def _finished_at(run: Run) -> float:
    return run.path("summary.json").stat().st_mtime


def _pick(runs: list[Run], name: str) -> Run | None:
    """The run of this name; for ``latest`` the last one, evaluations left aside if there are others."""
    by_name = {run.name: run for run in runs}
    if name in by_name or name != "latest":
        return by_name.get(name)
    return next((run for run in reversed(runs) if not run.only_evaluates()), runs[-1] if runs else None)
