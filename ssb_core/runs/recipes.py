"""The recipes of a store, and the values in them under the names of the configuration's fields.

A recipe names the recipe that it builds on by a hash. Here the chain is followed, so that two requests can be compared
value by value, over everything that decides their rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..stages import Spec, upstreams
from ..stages.spec import BASELINES
from ..store import Manifest, Recipe, Store

UPSTREAM = {"rollouts": "rollouts", "select": "select", "solutions": "teach", "teach": "teach"}
"""The stage of the recipe that a key of a recipe names by its hash."""

STUDENTS = ("distill", *BASELINES)

NAMES = {
    "model.identity": "model.source",
    "model.dtype": "model.dtype",
    "model.chat_template": "model.chat_template",
    "verify.form": "problems.form",
    "prompt": "prompts.few_shot",
    "limit": "target_traces",
    "lora.rank": "distill.lora_rank",
    "lora.alpha": "distill.lora_alpha",
    "codec": "teach.codec",
    "k": "teach.k",
    "temperature": "distill.temperature",
    "decoding": "teach",
    "samples": "evaluate.samples",
}
"""The configuration's field for a value of a recipe, by its path or the beginning of it; otherwise the path is it."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value that decides rows, with the field that it comes from. `stage` is that of the recipe that has it."""

    stage: str
    field: str
    value: Any


class Recipes:
    """The recipes in a store, and those of planned requests. Each stage is read once."""

    def __init__(self, store: Store, planned: Iterable[Spec] = ()) -> None:
        self.store = store
        self._planned: dict[tuple[str, str], Recipe] = {}
        self._students: dict[str, Recipe] = {}
        for spec in _each_once(planned):
            recipe = spec.recipe
            self._planned[recipe.stage, recipe.hash] = recipe
            if spec.stage in STUDENTS:
                self._students[spec.fingerprint] = recipe
        self.stored = lru_cache(maxsize=None)(self._read)

    def _read(self, stage: str) -> dict[str, Recipe]:
        """The recipes of a stage in the store, by hash."""
        return {r.hash: r for r in (Recipe(stage, content) for content in self.store.recipes(stage))}

    def is_planned(self, recipe: Recipe) -> bool:
        """Whether a planned request has this recipe."""
        return (recipe.stage, recipe.hash) in self._planned

    def seeds(self, stage: str) -> set[Any]:
        """The training seeds of the planned students of a stage."""
        return {seed(recipe) for (of, _), recipe in self._planned.items() if of == stage}

    def student(self, fingerprint: str | None) -> Recipe | None:
        """The recipe of a student, planned or in the store; None for the base model and for one that is gone."""
        if not isinstance(fingerprint, str):
            return None
        if known := self._students.get(fingerprint):
            return known
        layout = self.store.layout
        stored = (r for stage in STUDENTS for r in self.stored(stage).values())
        return next((r for r in stored if layout.recipe(r.stage, r.hash).manifest(fingerprint).exists()), None)

    def upstream(self, recipe: Recipe) -> Recipe | None:
        """The recipe that this one builds on, if it builds on one and the store still has it."""
        content = recipe.content
        if recipe.stage == "merge":
            return self._find("distill", content.get("student"))
        if recipe.stage == "evaluate":
            return self.student(content.get("student"))
        named = ((stage, content[key]) for key, stage in UPSTREAM.items() if isinstance(content.get(key), str))
        return next((self._find(stage, name) for stage, name in named), None)

    def _find(self, stage: str, name: str | None) -> Recipe | None:
        return self._planned.get((stage, name or "")) or self.stored(stage).get(name or "")

    def chain(self, recipe: Recipe) -> list[Recipe]:
        """A recipe and everything that it builds on, as far as the store has it."""
        upstream = self.upstream(recipe)
        return [recipe, *(self.chain(upstream) if upstream else ())]

    def values(self, recipe: Recipe) -> dict[str, Value]:
        """Every value that decides the rows of a recipe, by its place in the chain."""
        return {key: v for r in reversed(self.chain(recipe)) for key, v in _own_values(r)}

    def model(self, recipe: Recipe) -> str | None:
        """The identity of the model that made the rows, if it is known."""
        return next((i for r in self.chain(recipe) if (i := _get(r.content, "model", "identity"))), None)

    def manifests(self, recipe: Recipe) -> Iterator[Manifest]:
        """The manifests of a recipe that can be read. Their files are not checked."""
        for path in self.store.layout.recipe(recipe.stage, recipe.hash).manifests.glob("*.json"):
            try:
                yield Manifest.read(path)
            except (OSError, ValueError, KeyError, TypeError):
                continue


def _each_once(planned: Iterable[Spec]) -> Iterator[Spec]:
    """Requests and everything that they build on. Hundreds of students share the same objects, so identity counts."""
    left, seen = list(planned), set()
    while left:
        spec = left.pop()
        if id(spec) not in seen:
            seen.add(id(spec))
            left += upstreams(spec)
            yield spec


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping by dotted path."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def seed(student: Recipe) -> Any:
    """The training seed of a student."""
    values = flatten(student.content)
    return values.get("distill.seed", values.get("grpo.seed"))


def _own_values(recipe: Recipe) -> Iterator[tuple[str, Value]]:
    part = recipe.content.get("part", "")
    for path, value in flatten(recipe.content).items():
        if path not in (*UPSTREAM, "student", "part"):
            yield f"{recipe.stage}/{part}:{path}", Value(recipe.stage, _field(recipe.stage, part, path), value)


def _field(stage: str, part: str, path: str) -> str:
    """The configuration's name of a value; of versions, a name for people."""
    first, _, rest = path.partition(".")
    if path == "version":
        return f"the version of stage {stage}"
    if first == "verify" and rest != "form":
        return f"the verifier ({rest})"
    if stage == "evaluate" and first == "decoding":
        return f"evaluate.{rest}"
    if part == "solutions" and path == "prompt":
        return "prompts.teach_few_shot"
    if path in NAMES:
        return NAMES[path]
    return f"{NAMES[first]}.{rest}" if first in NAMES and rest else path


def _get(content: dict[str, Any], *keys: str) -> Any:
    value: Any = content
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
