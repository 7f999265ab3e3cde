"""Checks of the machine, made worse by real means."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest

from ssb_core.config import RunConfig
from ssb_core.config.execution import Execution, Workers
from ssb_core.doctor import machine
from ssb_core.errors import ConfigError
from ssb_core.runs.pipeline import Pipeline
from tests.support.doctor import examined


def test_workers_need_the_package_they_run_on(
    small: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = small.model_copy(update={"execution": Execution(workers=Workers(count=2))})
    assert [c.message for c in machine.workers(small)] == []
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
    assert (check.status, check.message) == ("warning", "up to 256; runs may need 1,024")
    assert check.remedy.startswith("ulimit -n ")
