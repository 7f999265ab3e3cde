"""Configurations and plans of the public API."""

from __future__ import annotations

from pathlib import Path

import pytest

import ssb_core
from ssb_core.config import RunConfig
from ssb_core.errors import ConfigError
from ssb_core.runs import Run
from tests.support.settings import SMALL


def test_a_preset_with_overrides_is_the_configuration_of_the_command_line(small: RunConfig) -> None:
    assert "quickstart" in ssb_core.preset_names()
    assert ssb_core.load_preset("quickstart", *SMALL) == small
    assert isinstance(ssb_core.load_preset("quickstart"), ssb_core.RunConfig)


def test_an_unknown_preset_field_or_value_is_named() -> None:
    with pytest.raises(ConfigError, match="nonsense"):
        ssb_core.load_preset("nonsense")
    with pytest.raises(ConfigError, match="nonsense"):
        ssb_core.load_preset("quickstart", "rollouts.nonsense=1")
    with pytest.raises(ConfigError, match=r"rollouts\.samples"):
        ssb_core.load_preset("quickstart", "rollouts.samples=many")


def test_the_file_of_a_run_is_its_configuration_again(quick_run: Run, small: RunConfig) -> None:
    path = quick_run.directory / "config.yaml"
    assert ssb_core.load_config(path) == ssb_core.load_config(str(path)) == small
    assert ssb_core.load_config(path, "problems.limit=32").problems.limit == 32
    with pytest.raises(ConfigError, match=r"gone\.yaml"):
        ssb_core.load_config(path.with_name("gone.yaml"))


def test_a_plan_says_what_a_run_would_do_and_changes_nothing(quick_run: Run, small: RunConfig, tmp_path: Path) -> None:
    rows = ssb_core.plan(small, quick_run.store)
    assert {row.status for row in rows} == {"cached"}
    assert [row.label for row in rows] == [s.label for s in quick_run.load_stages()]
    assert rows == ssb_core.plan(small, quick_run.store.root) == ssb_core.plan(small, str(quick_run.store.root))
    assert ssb_core.plan(small, tmp_path / "store")[0].status == "missing" and list(tmp_path.iterdir()) == []
