"""A `Spec` is one request of a stage. It is frozen, can be written as JSON, and has the specs that it builds on.

Every identity follows from it:

* its **recipe** says how rows are made: stage, version, the configuration that changes rows, the upstream recipe;
* its **fingerprint** adds the inputs of the request.

`Spec.dump` writes a spec down for another process, and `Spec.load` reads it back.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from types import ModuleType
from typing import Any, ClassVar, get_args

from ..config.execution import Execution, StageName
from ..config.frozen import Frozen
from ..config.settings import Baseline
from ..store import Recipe, digest

BASELINES = get_args(Baseline)
STAGES = tuple(s.value for s in StageName)

_kinds: dict[tuple[str, str], type[Spec]] = {}
"""Every kind of request by its stage and part. A kind is known once its module is imported."""


class Spec(Frozen, ABC):
    """One request of a stage. Subclasses say how rows are made, and from which inputs."""

    stage: ClassVar[str]
    version: ClassVar[int]
    """Part of the recipe. Raise it when the code makes other rows from the same configuration."""
    part: ClassVar[str] = ""
    """The name of this kind of request, if the stage has several kinds."""
    can_fan_out: ClassVar[bool] = False
    """Whether several workers may make its shards."""

    execution: Execution = Execution()

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        super().__pydantic_init_subclass__(**options)
        if "stage" in vars(cls):
            known = _kinds.setdefault((cls.stage, cls.part), cls)
            if known.__module__ != cls.__module__:
                raise TypeError(f"{cls.__module__} and {known.__module__} both have stage {cls.stage!r}")

    @abstractmethod
    def recipe_content(self) -> dict[str, Any]:
        """The values that decide the rows. They are hashed into the recipe."""

    @abstractmethod
    def inputs(self) -> list[str]:
        """Digests of the inputs: problems, or upstream fingerprints."""

    @property
    def recipe(self) -> Recipe:
        """The recipe of the rows."""
        return Recipe(self.stage, {"version": self.version, **self.recipe_content()})

    @property
    def fingerprint(self) -> str:
        """The name of this request: its recipe and its inputs in 16 hexadecimal digits."""
        return digest([self.recipe.hash, self.inputs()])

    @property
    def labels(self) -> dict[str, Any]:
        """Labels for people, which a run records: `model`, `seed`, `benchmark`."""
        return {}

    @property
    def round(self) -> int:
        """Its round of bootstrapping. Round 1 has the base model that was given."""
        return max((u.round for u in upstreams(self)), default=1)

    @property
    def uses_model(self) -> bool:
        """Whether a model has to be loaded, so that the request may need a process of its own."""
        return True

    @property
    def uses_workers(self) -> bool:
        """Whether workers make its shards."""
        return self.can_fan_out and self.execution.workers.used

    @property
    def engine_key(self) -> str | None:
        """The weights that it samples with, if it samples: requests with the same key can share a loaded engine."""
        return None

    def dump(self) -> dict[str, Any]:
        """The spec as JSON, for `load` in another process."""
        return {"stage": self.stage, "part": self.part, "spec": self.model_dump(mode="json")}

    @staticmethod
    def load(dumped: dict[str, Any]) -> Spec:
        """The spec that `dump` wrote.

        Raises:
            ValueError: it was not written by `dump`: a key is missing, there is no such stage, or a field does not fit.
        """
        if missing := {"stage", "part", "spec"} - dumped.keys():
            raise ValueError(f"a dumped spec lacks {', '.join(sorted(missing))}")
        stage, part = dumped["stage"], dumped["part"]
        stage_module(stage)
        if (stage, part) not in _kinds:
            raise ValueError(f"stage {stage} has no part {part!r}")
        return _kinds[stage, part].model_validate(dumped["spec"])


def stage_module(stage: str) -> ModuleType:
    """The module of a stage, imported when it is needed.

    It has a `Spec` and ``run(spec, store, runtime) -> Outcome``. A stage whose shards workers can make also has
    ``plan_shards(spec, store, runtime) -> ShardPlan``.

    Raises:
        ValueError: there is no such stage.
    """
    if stage not in STAGES:
        raise ValueError(f"there is no stage {stage!r}; stages are {', '.join(STAGES)}")
    room = "ssb_core.stages.baselines" if stage in BASELINES else "ssb_core.stages"
    return importlib.import_module(f"{room}.{stage.replace('-', '_')}")


def upstreams(spec: Spec) -> tuple[Spec, ...]:
    """The requests that a spec builds on directly, in the order of its fields."""
    specs: list[Spec] = []
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        specs += [v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, Spec)]
    return tuple(specs)


def lineage(spec: Spec) -> list[Spec]:
    """A request and everything that it builds on, each once."""
    specs = {spec.fingerprint: spec}
    for upstream in upstreams(spec):
        specs |= {s.fingerprint: s for s in lineage(upstream)}
    return list(specs.values())
