"""The working folder of a deployed run: its worker's SSB_HOME."""

from __future__ import annotations

import os
from pathlib import Path

HOME = "SSB_HOME"
RUNS = "runs"  # the folder of the runs below it, unless a run names another


def enter_home() -> dict[str, str]:
    """Change into the folder of store, runs and data files, which SSB_HOME names. Prefect calls this before the flow.

    Raises:
        ValueError: the variable is not set, or does not name a folder.
    """
    home = os.environ.get(HOME)
    if not home:
        raise ValueError(f"{HOME} is not set on this worker\n  remedy: start it with {HOME}=/folder/of/store/and/runs")
    if not Path(home).is_dir():
        raise ValueError(f"{HOME}={home} is not a folder on this worker\n  remedy: create or mount it")
    os.chdir(home)
    return {"directory": home}
