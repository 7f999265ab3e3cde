"""What a deployed run needs before the flow: the folder it works in."""

from __future__ import annotations

import os
from pathlib import Path

HOME = "SSB_HOME"


def enter_home() -> dict[str, str]:
    """Pull step: work in the folder that the worker's SSB_HOME names, where the store, runs and data files lie.

    Raises:
        ValueError: the variable is not set, or names no folder.
    """
    home = os.environ.get(HOME)
    if not home:
        raise ValueError(f"{HOME} is not set on this worker\n  remedy: start it with {HOME}=/folder/of/store/and/runs")
    if not Path(home).is_dir():
        raise ValueError(f"{HOME}={home} is no folder on this worker\n  remedy: create or mount it")
    os.chdir(home)
    return {"directory": home}
