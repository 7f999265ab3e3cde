"""Every field of the configuration, changed alone: the plan names it where it decides rows, and only there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from ssb_core.config import RunConfig, presets
from ssb_core.models import NANO
from ssb_core.runs.pipeline import Pipeline
from ssb_core.runs.plan import PlanRow, plan
from ssb_core.store import Store
from tests.support.made_store import make_all

EXAMPLE = "[{question: '1+1?', solution: 'It is \\boxed{2}.'}]"
BASE = (
    "model={source: nano, dtype: float32}",
    "problems={source: mine.jsonl, id: name}",
    "prompts.few_shot=" + EXAMPLE,
    "target_traces=64",
    "baselines=[grpo, sft, rft, ssb-no-wrong]",
    "distill={held_out: 1, patience: 2}",
    "execution.shard_size=8",
    "evaluate.temperature=0.5",
    "evaluate.benchmarks=[{name: held, source: held.jsonl, id: name}]",
)

CHANGES = {
    "model.source": "other",
    "model.revision": "v2",
    "model.chat_template": "own.jinja",
    "prompts.few_shot": "[{question: '2+2?', solution: 'It is \\boxed{4}.'}]",
    "distill.beta": "0.3",
    "distill.batch_size": "8",
    "evaluate.limit": "21",
    "evaluate.benchmarks.temperature": "0.25",
    **{f"{section}.{leaf}": value
       for section in ("problems", "evaluate.benchmarks")
       for leaf, value in {
           "source": "other.jsonl", "id": "number", "question": "reworded", "answer": "other_answer",
           "subject": "reworded", "level": "reworded", "form": "choice", "subset": "main", "split": "validation",
           "skip": "3", "limit": "21", "shuffle_seed": "3", "distinct": "true",
       }.items()},
}  # fmt: skip
"""Other values of fields for which no rule of `another` gives a valid one."""

BOTH = ("rollouts.samples", "rollouts.temperature", "rollouts.top_k")
"""Fields that the baseline grpo must have too."""

OWN_ROWS = (
    "baselines",
    "seeds",
    "rounds",
    "evaluate.benchmarks.name",
    "grpo.samples",
    "grpo.temperature",
    "grpo.top_k",
)
"""Fields that add or rename requests, and those that `BOTH` changes."""

NO_EFFECT = {
    "model.revision": "a directory has none",
    "problems.subset": "files have none",
    "problems.split": "files have none",
    "problems.subject": "it is a label",
    "problems.level": "it is a label",
    "teach.k": "codec hidden ignores it",
    "distill.beta": "forward_kl ignores it",
    "distill.accumulation": "the sums are the same",
    "distill.checkpointing": "the numbers are the same",
    "grpo.accumulation": "the sums are the same",
    "grpo.checkpointing": "the numbers are the same",
    "grpo.save_steps": "no student is chosen by it",
    "evaluate.benchmarks.subset": "files have none",
    "evaluate.benchmarks.split": "files have none",
    "evaluate.benchmarks.subject": "it is a label",
    "evaluate.benchmarks.level": "it is a label",
}
"""Fields that decide no rows of `BASE`, and why."""

FIRST_STAGES = {
    "model": ("rollouts", "missing"),
    "model.dtype": ("rollouts", "stale"),
    "model.chat_template": ("rollouts", "stale"),
    "problems.source": ("rollouts", "missing"),
    "problems.id": ("rollouts", "missing"),
    "problems.limit": ("rollouts", "partial"),
    "problems.form": ("select", "stale"),
    "problems": ("rollouts", "stale"),
    "prompts.few_shot": ("rollouts", "stale"),
    "prompts.teach_few_shot": ("teach", "stale"),
    "target_traces": ("distill", "stale"),
    "rollouts": ("rollouts", "stale"),
    "select": ("select", "stale"),
    "teach": ("teach", "stale"),
    "distill": ("distill", "stale"),
    "grpo": ("grpo", "stale"),
    "evaluate.benchmarks.source": ("evaluate", "missing"),
    "evaluate.benchmarks.id": ("evaluate", "missing"),
    "evaluate.benchmarks.limit": ("evaluate", "partial"),
    "evaluate.limit": ("evaluate", "partial"),
    "evaluate": ("evaluate", "stale"),
}
"""The first request that a field changes, and its status; the longest beginning of a field's path counts."""


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every field that has no fields of its own, with its annotation. Lists of models count as models."""
    for name, field in model.model_fields.items():
        path, inner = f"{prefix}{name}", field.annotation
        args = [a for a in get_args(inner) if isinstance(a, type) and issubclass(a, BaseModel)]
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from leaves(inner, f"{path}.") if path != "execution" else ()
        elif args and path != "prompts.few_shot":
            yield from leaves(args[0], f"{path}.")
        else:
            yield path, inner


FIELDS = dict(leaves(RunConfig))


def another(path: str, value: Any) -> str:
    """Another value for a field."""
    kind = next((a for a in get_args(FIELDS[path]) if a is not type(None)), FIELDS[path])
    kind = FIELDS[path] if get_origin(FIELDS[path]) is Literal else kind
    if path in CHANGES:
        return CHANGES[path]
    if get_origin(kind) is Literal:
        return str(next(v for v in get_args(kind) if v != value))
    if kind is bool:
        return str(not value).lower()
    assert kind in (int, float), f"{path}: CHANGES needs another value for it"
    return str((value or 1) + 1 if kind is int else (value or 1.0) / 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with problem files, another model, and a store in which all requests of `BASE` are finished."""
    root = tmp_path_factory.mktemp("reasons")
    for name, first in (("mine", 0), ("other", 100), ("held", 200)):
        rows = [
            {
                "name": f"{name}-{i}", "number": f"n{i}", "question": f"{first + i // 2 * 2}+1?",
                "reworded": f"1+{first + i}?",                 "answer": "ABCD"[i % 4], "other_answer": "A",
            }
            for i in range(24)
        ]  # fmt: skip
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "own.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    shutil.copytree(NANO, root / "other")
    (root / "other" / "more.json").write_text("{}")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        pipeline = Pipeline.of(presets.load_config("quickstart", overrides=BASE), root / "store")
        make_all(pipeline, Store(root / "store"), seconds=10)
        yield root


def planned(folder: Path, *overrides: str) -> list[PlanRow]:
    config = presets.load_config("quickstart", overrides=[*BASE, *overrides])
    return plan(Pipeline.of(config, folder / "store"), Store(folder / "store"))


def test_what_is_finished_is_cached(folder: Path) -> None:
    assert {row.status for row in planned(folder)} == {"cached"}


@pytest.mark.parametrize("path", [path for path in FIELDS if path not in OWN_ROWS])
def test_a_changed_field_is_the_reason(path: str, folder: Path) -> None:
    value: Any = presets.load_config("quickstart", overrides=BASE)
    place = path.replace("benchmarks.", "benchmarks.0.")
    for key in place.split("."):
        value = value[int(key)] if key.isdigit() else getattr(value, key)
    leaf, new = path.rpartition(".")[2], another(path, value)
    both = [f"grpo.{leaf}={new}"] if path in BOTH else []
    rows = [row for row in planned(folder, f"{place}={new}", *both) if row.status != "cached"]
    if path in NO_EFFECT:
        assert not rows
        return
    known = max((p for p in FIRST_STAGES if f"{path}.".startswith(f"{p}.")), key=len)
    assert (rows[0].stage, rows[0].status) == FIRST_STAGES[known]
    assert rows[0].status == "partial" or leaf in rows[0].why
    labels = {row.label for row in rows}
    for row in rows:
        named = path.replace("benchmarks.", "benchmarks[held].") in row.why or f"grpo.{leaf}: " in row.why
        listed = f"{path.removesuffix(leaf)[:-1].replace('benchmarks', 'benchmarks[held]')}" in row.why
        caused = any(f"because {label} is " in row.why for label in labels)
        assert named or (listed and row.stage in ("rollouts", "grpo", "evaluate")) or caused or row.status == "partial"
        assert row.status != "stale" or row is rows[0] or named or listed
