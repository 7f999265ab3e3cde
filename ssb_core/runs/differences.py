"""The differences between a planned request and an earlier recipe, in the names of the configuration's fields."""

from __future__ import annotations

from dataclasses import dataclass

from .. import prompts
from ..stages import Spec, evaluate, lineage, rollouts
from ..stages.solutions import Solutions
from ..store import digest
from .recipes import Recipes, Value

MODEL = "model.source"
DIGESTS = (MODEL, "model.chat_template", "prompts.few_shot", "prompts.teach_few_shot")
"""Fields of which a recipe has digests only, so that nobody can say what they were."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that decides rows, and its two values as text. `stage` is the first stage whose rows it decides."""

    stage: str
    field: str
    old: str
    new: str

    def __str__(self) -> str:
        if self.field in DIGESTS or self.field.endswith(".few_shot"):
            return f"{self.field} has changed"
        return f"{self.field}: {self.old} -> {self.new}"


def differences(spec: Spec, old: dict[str, Value], recipes: Recipes) -> list[Difference]:
    """The differences of a request's recipe from the values of an earlier one, each field once.

    A value that only one of them has follows from another field, and counts only if nothing else differs.
    """
    new = recipes.values(spec.recipe)
    known = {_place(key) for key in old} & {_place(key) for key in new}
    changed = [k for k in {**new, **old} if _place(k) in known and _value(old, k) != _value(new, k)]
    changed = [k for k in changed if k in old and k in new] or changed
    found: dict[str, Difference] = {}
    for key in changed:
        value = new.get(key) or old[key]
        field = _field(spec, key, value.field, changed, recipes)
        found.setdefault(field, _difference(value.stage, field, _text(old, key), _text(new, key)))
    return list(found.values())


def _place(key: str) -> str:
    """The stage and part of a value."""
    return key.split(":")[0]


def _value(values: dict[str, Value], key: str) -> object:
    return values[key].value if key in values else None


def _text(values: dict[str, Value], key: str) -> str:
    return str(values[key].value) if key in values else "none"


def _difference(stage: str, field: str, old: str, new: str) -> Difference:
    """Two commits of one hub repository are revisions of the same model."""
    (repository, _, was), (other, _, now) = old.partition("@"), new.partition("@")
    if field == MODEL and was and now and repository == other:
        return Difference(stage, "model.revision", was[:8], now[:8])
    return Difference(stage, field, old, new)


def _field(spec: Spec, key: str, field: str, changed: list[str], recipes: Recipes) -> str:
    """The configuration's name of a value of this request; see `recipes` for the names that do not depend on it."""
    if key == "teach/solutions:prompt":
        if "rollouts/:prompt" in changed:
            return "prompts.few_shot"
        return field if _sampled(spec).few_shot else "the teacher's prompt"
    if not (isinstance(spec, evaluate.Spec) and _place(key) == "evaluate/"):
        return field
    name, leaf = f"evaluate.benchmarks[{spec.benchmark.name}]", field.rpartition(".")[2]
    if field == "problems.form":
        return f"{name}.form"
    if field == "prompts.few_shot":
        return field if spec.few_shot and not _prompted_before(spec, recipes) else f"{name}.few_shot"
    own = field.startswith("evaluate.") and getattr(spec.benchmark, leaf, None) is not None
    return f"{name}.{leaf}" if own else field


def _sampled(spec: Spec) -> rollouts.Spec:
    return next(s for s in lineage(spec) if isinstance(s, rollouts.Spec))


def _prompted_before(spec: evaluate.Spec, recipes: Recipes) -> bool:
    """Whether rollouts were sampled with these worked examples before, so that only the benchmark's choice is new."""
    prompt = digest(prompts.tutor_messages("", spec.few_shot))
    return any(r.content.get("prompt") == prompt for r in recipes.stored("rollouts").values())


def is_for_other_hint(spec: Spec, old: dict[str, Value]) -> bool:
    """Whether an earlier recipe is of a teacher that sees the wrong rollout where this one does not, or vice versa."""
    prompt = old.get("teach/solutions:prompt")
    written = next((s for s in lineage(spec) if isinstance(s, Solutions)), None)
    if prompt is None or written is None:
        return False
    examples = ((), written.few_shot, written.select.rollouts.few_shot)
    others = (written.model_copy(update={"show_wrong": not written.show_wrong, "few_shot": e}) for e in examples)
    return prompt.value in {other.recipe_content()["prompt"] for other in others}
