"""A file of a run that a crash or a bad disk damaged is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ssb_core.errors import ConfigError
from ssb_core.runs import Run


@pytest.mark.parametrize("content", ["", "{", "[1]", "null"])
def test_a_damaged_file_of_a_run_is_named_with_the_remedy(quick_run: Run, tmp_path: Path, content: str) -> None:
    run = Run(tmp_path / "run", quick_run.store)
    shutil.copytree(quick_run.directory, run.directory)
    for name in ("summary.json", "stages.json", "env.json"):
        whole = (run.directory / name).read_text()
        (run.directory / name).write_text(content)
        with pytest.raises(ConfigError, match=f"{name} is damaged .*\n  remedy: "):
            print(Run.named(tmp_path, "run", run.store).load_stages(), run.load_environment())
        (run.directory / name).write_text(whole)
