"""Injects faults into every process that has this folder on its PYTHONPATH.

SSB_TEST_FAULTS names a folder of faults. A file in it has the name of a stage, and is read whenever the stage runs.
``ValueError`` raises that error at the start of the stage. ``once ValueError`` does so too, and removes the file first,
so that the next try succeeds. ``slow 5`` waits for 5 seconds after each finished shard or checkpoint, so that a test
can kill the process there.
"""

import os
from pathlib import Path

if faults := os.environ.get("SSB_TEST_FAULTS"):
    import builtins
    import time
    from importlib import import_module
    from typing import Any

    from ssb_core.store import Store
    from ssb_core.store.local import Local

    folder = Path(faults)
    execution: Any = import_module("ssb_core.stages.execute")  # before any module imports the function from it
    execute, write_shard, upload_part = execution.execute, Store.write_shard, Local.upload_part

    def fault(stage: str) -> list[str]:
        return (folder / stage).read_text().split() if (folder / stage).exists() else []

    def broken(spec: Any, *rest: Any) -> Any:
        match fault(spec.stage):
            case ["once", kind]:
                (folder / spec.stage).unlink()
                raise getattr(builtins, kind)(f"injected into {spec.stage}")
            case [kind]:
                raise getattr(builtins, kind)(f"injected into {spec.stage}")
        return execute(spec, *rest)

    def wait(stage: str) -> None:
        match fault(stage):
            case ["slow", seconds]:
                time.sleep(float(seconds))

    def slow_shard(self: Store, recipe: Any, *rest: Any) -> Any:
        shard = write_shard(self, recipe, *rest)
        wait(recipe.stage)
        return shard

    def slow_part(self: Local, part: Path) -> None:
        upload_part(self, part)
        wait(part.relative_to(self.root).parts[0])

    execution.execute = broken
    Store.write_shard = slow_shard
    Local.upload_part = slow_part
