"""Makes a stage fail in processes that have this folder on their PYTHONPATH and SSB_TEST_FAULT in their environment.

``SSB_TEST_FAULT=STAGE:KIND:FILE``: while FILE exists, stage STAGE raises an error of the given built-in class. Taking
``once:KIND`` for KIND removes FILE first, so that the next try gets past it.
"""

import os
from pathlib import Path

if fault := os.environ.get("SSB_TEST_FAULT"):
    import builtins
    from typing import Any

    from ssb_core import stages

    stage, *once, kind, file = fault.split(":")
    execute = stages.execute

    def broken(spec: Any, *rest: Any) -> Any:
        if spec.stage == stage and Path(file).exists():
            if once:
                Path(file).unlink()
            raise getattr(builtins, kind)(f"injected into {stage}")
        return execute(spec, *rest)

    stages.execute = broken
