"""A request written down for another process is the same request when it is read back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ssb_core.config import presets
from ssb_core.runs.pipeline import Pipeline
from ssb_core.stages import STAGES, Spec, lineage, merge, rollouts, stage_module, upstreams
from ssb_core.store import Store
from tests.support.processes import ROOT

OVERRIDES = ("baselines=[grpo,sft,rft,ssb-no-wrong]", "grpo.samples=4", "rollouts.samples=4", "rounds=2")


@pytest.fixture(scope="module")
def specs() -> dict[str, Spec]:
    """One request of every kind by its name; of rollouts, select and teach also one of the second round."""
    return dict(_every_kind(Path("store")))


def _every_kind(root: Path) -> Iterator[tuple[str, Spec]]:
    first = Pipeline.of(presets.load_config("quickstart", overrides=OVERRIDES), root)
    wave = first.wave(0, 64)
    students = first.students([wave, first.wave(64, 96)])
    merged = merge.Spec(student=students[0])
    second = replace(first, model=merged.model(Store(root)), merged=merged)
    for number, w in ((1, wave), (2, second.wave(0, 64))):
        for spec in (w.rollouts, w.select, w.teach.solutions, w.teach):
            yield f"{spec.stage} {spec.part} of round {number}", spec
    for student in (*students, merged, *second.students([second.wave(0, 64)])):
        yield f"{student.stage} of round {student.round}", student
    for evaluated in (None, *students, *second.students([second.wave(0, 64)])):
        evaluation = (second if evaluated and evaluated.round == 2 else first).evaluations(evaluated)[0]
        yield f"evaluate {evaluation.model_name}", evaluation


def assert_equal(loaded: Spec, spec: Spec) -> None:
    assert type(loaded) is type(spec) and loaded == spec
    assert (loaded.fingerprint, loaded.recipe) == (spec.fingerprint, spec.recipe)
    assert (loaded.round, loaded.labels, loaded.engine_key) == (spec.round, spec.labels, spec.engine_key)
    assert [type(s) for s in lineage(loaded)] == [type(s) for s in lineage(spec)]


def test_every_kind_of_request_survives_dump_and_load(specs: dict[str, Spec]) -> None:
    assert {s.stage for s in specs.values()} == set(STAGES)
    for spec in specs.values():
        assert_equal(Spec.load(json.loads(json.dumps(spec.dump()))), spec)


def test_execution_settings_survive_dump_and_load(specs: dict[str, Spec]) -> None:
    for spec in specs.values():
        changed = spec.execution.model_copy(update={"batch_size": 7, "shard_size": 9})
        loaded = Spec.load(json.loads(json.dumps(spec.model_copy(update={"execution": changed}).dump())))
        assert loaded.execution == changed and loaded.fingerprint == spec.fingerprint


def test_the_merge_below_a_second_round_keeps_its_kind_and_its_student(specs: dict[str, Spec]) -> None:
    spec = specs["rollouts  of round 2"]
    loaded = Spec.load(json.loads(json.dumps(spec.dump())))
    assert isinstance(loaded, rollouts.Spec) and isinstance(loaded.merged, merge.Spec)
    assert upstreams(loaded) == (loaded.merged,) and loaded.merged.student == specs["distill of round 1"]


LOAD = """
import json, sys
from ssb_core.stages.spec import Spec
print(Spec.load(json.load(sys.stdin)).fingerprint)
"""


@pytest.mark.parametrize("name", ["rollouts  of round 2", "evaluate grpo"])
def test_a_fresh_process_finds_the_kinds_of_all_parts(name: str, specs: dict[str, Spec]) -> None:
    spec = specs[name]
    command = [sys.executable, "-c", LOAD]
    done = subprocess.run(command, input=json.dumps(spec.dump()), capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == [spec.fingerprint], done.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage": "nonsense"}, "there is no stage 'nonsense'; stages are rollouts, select, "),
        ({"stage": "../evil"}, "there is no stage '../evil'"),
        ({"part": "nonsense"}, "stage teach has no part 'nonsense'"),
        ({"stage": "rollouts"}, "stage rollouts has no part 'solutions'"),
        ({"spec": {}}, "Field required"),
        ({"spec": {"unknown": 1}}, "Extra inputs are not permitted"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_unknown_stage_part_or_field_is_refused(
    changes: dict[str, Any], message: str, specs: dict[str, Spec]
) -> None:
    dumped = specs["teach solutions of round 1"].dump()
    with pytest.raises(ValueError, match=message.replace("..", r"\.\.")):
        Spec.load(dumped | changes)


def test_the_module_of_an_unknown_stage_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no stage 'baselines'"):
        stage_module("baselines")


def test_a_job_file_with_an_unknown_stage_ends_with_a_clear_message(tmp_path: Path, specs: dict[str, Spec]) -> None:
    path = tmp_path / "job.json"
    job = {"store": str(tmp_path), **specs["distill of round 1"].dump(), "stage": "nonsense"}
    path.write_text(json.dumps(job))
    command = [sys.executable, "-m", "ssb_core.stages", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith(f"{path}: there is no stage 'nonsense'")
