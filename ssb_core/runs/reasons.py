"""The reason why a request is not in the store: a changed setting, the request before it, or a damaged file.

A request is compared with everything that the store has of its stage. The nearest earlier recipe decides: if it is of
the same model and the same problem set, the request is stale because of the fields in which they differ. Otherwise it
was never run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ..stages import Spec, evaluate, finished, upstreams
from ..stages.execute import parts
from ..store import Recipe, Store
from .differences import MODEL, Difference, differences, is_for_other_hint
from .earlier_problems import EarlierProblems, problems_field
from .recipes import STUDENTS, Recipes, seed
from .remains import RESULT, Remains, remains

PlanStatus = Literal["cached", "partial", "missing", "stale", "waits", "forced"]
NEVER = "never run"


class Reason(NamedTuple):
    """The status of a request, and in words why it is not cached."""

    status: PlanStatus
    why: str = ""


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier recipe of the same stage: the fields in which it differs, and ids of its problems.

    `other_problems` is empty if its problems are of the problem set of the new request.
    """

    recipe: Recipe
    differences: list[Difference]
    other_problems: tuple[str, ...]

    @property
    def other_model(self) -> str:
        """The identity of its model, if that is another one."""
        return next((d.old for d in self.differences if d.field == MODEL), "")

    @property
    def distance(self) -> tuple[bool, bool, int]:
        """Sorts the nearest recipe first."""
        return bool(self.other_model), bool(self.other_problems), len(self.differences)


class Reasons:
    """The reasons of planned requests, which must be asked for in the order in which they run."""

    def __init__(self, store: Store, planned: Sequence[Spec]) -> None:
        self.store = store
        self.recipes = Recipes(store, planned)
        self.problems = EarlierProblems(store)
        self._causes: dict[str, str] = {}
        self._used: set[str] = set()

    def of(self, spec: Spec, label: str) -> tuple[Reason, Remains]:
        """The status of a request and why it has it, and what the store has of it."""
        if finished(spec, self.store):
            self._used.add(spec.recipe.hash)
            return Reason("cached"), Remains()
        found, cause = remains(spec, self.store), self._cause(spec)
        reason = self._reason(spec, found, f"because {cause}" if cause else "")
        self._causes[spec.fingerprint] = cause or f"{label} is {reason.status}"
        if found.whole:
            self._used.add(spec.recipe.hash)
        return reason, found

    def _cause(self, spec: Spec) -> str:
        """The first request before this one that is not cached, and its status; empty if all are."""
        before = [s for u in upstreams(spec) for s in (u, *(upstreams(u) if u.stage == spec.stage else ()))]
        return next((self._causes[s.fingerprint] for s in before if s.fingerprint in self._causes), "")

    def _reason(self, spec: Spec, found: Remains, because: str) -> Reason:
        if found.whole:
            return Reason("partial", "; ".join(filter(None, (in_words(found), because))))
        if found.damaged:
            return Reason("missing", in_words(found))
        if found.outdated:
            return Reason("stale", because or "what it was made from has changed since")
        nearest = self._nearest(spec) if spec.round == 1 else None  # a later round's model is always another
        if nearest and nearest.differences and not (nearest.other_model or nearest.other_problems):
            own = any(d.stage == spec.stage for d in nearest.differences)
            return Reason("stale", ("" if own else "because ") + ", ".join(map(str, nearest.differences)))
        return Reason("missing", because) if because else self._never_run(spec, nearest)

    def _nearest(self, spec: Spec) -> Earlier | None:
        """The nearest recipe in the store; one of a part of the stage if the whole of it was never run."""
        found = (min(self._earlier(s), key=lambda e: e.distance, default=None) for s in (spec, *parts(spec)))
        return next((earlier for earlier in found if earlier), None)

    def _earlier(self, spec: Spec) -> Iterator[Earlier]:
        """Recipes that the request can be compared with. Those of other planned requests are not earlier ones."""
        own = spec.recipe.hash
        for recipe in self.recipes.stored(spec.stage).values():
            planned_for_another = recipe.hash != own and self.recipes.is_planned(recipe)
            if recipe.content.get("part", "") != spec.part or planned_for_another or self._is_other_kind(spec, recipe):
                continue
            root = recipe if spec.stage == "evaluate" else self.recipes.chain(recipe)[-1]
            differing = differences(spec, self.recipes.values(recipe), self.recipes) if recipe.hash != own else []
            yield Earlier(recipe, differing, self.problems.of_other_set(root, spec))

    def _is_other_kind(self, spec: Spec, recipe: Recipe) -> bool:
        """Whether the recipe is for another kind of student or hint, or for a seed that another planned student has."""
        old: Recipe | None = recipe if spec.stage in STUDENTS else None
        new: Spec | None = spec if old else None
        if isinstance(spec, evaluate.Spec):
            name = recipe.content.get("student")
            old, new = self.recipes.student(name), spec.student
            if (name and not old) or (old and old.stage) != (new and new.stage):
                return True
        if old and new and seed(old) != seed(new.recipe) and seed(old) in self.recipes.seeds(new.stage):
            return True
        return is_for_other_hint(spec, self.recipes.values(recipe))

    def _never_run(self, spec: Spec, nearest: Earlier | None) -> Reason:
        """A request without any rows, and what the store has instead."""
        if nearest is None or spec.recipe.hash in self._used:
            return Reason("missing", NEVER)
        if model := nearest.other_model:
            known = model if "@" in model else "another one"
            return Reason("missing", f"{NEVER} for this model ({MODEL}); the store has {known}")
        if others := nearest.other_problems:
            fields = f"{problems_field(spec)}: source, subset, split, id"
            return Reason("missing", f"{NEVER} on these problems ({fields}); the store has others, e.g. {others[0]}")
        return Reason(*self.problems.within_set(nearest.recipe, spec))


def in_words(found: Remains) -> str:
    """The part of a request that is there: ``3 of 4 shards are there, 1 is damaged and made again``."""
    if found.part == RESULT:
        return "its result is there, to be checked"
    if not found.total:
        return f"stopped after step {found.whole:,}" if found.whole else "its files are damaged and made again"
    of_part = " of its solutions" if found.part == "solutions" else ""
    text = f"{found.whole:,} of {found.total:,} shards{of_part} are there"
    if found.damaged:
        text += f", {found.damaged:,} {'is' if found.damaged == 1 else 'are'} damaged and made again"
    if found.manifest_is_damaged:
        return f"{text}, their manifest is damaged"
    return f"{text}, to be checked" if found.whole == found.total else text
