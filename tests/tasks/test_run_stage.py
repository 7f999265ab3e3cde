"""The runner of steps as Prefect tasks, and what Prefect pickles of it."""

from __future__ import annotations

import threading

import cloudpickle

from flows.ssb import ssb
from ssb_core.progress import Progress
from ssb_core.stages.isolation import StageRunner
from tasks.run_stage import PrefectRunner


class Terminal(Progress):
    """A listener that cannot be pickled, as those of the command line."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


def test_the_task_of_a_stage_is_pickled_without_its_runner() -> None:
    """Prefect pickles it into the context of tasks on Ray."""
    runner = PrefectRunner(StageRunner(write=Terminal().note), Terminal())
    task = cloudpickle.loads(cloudpickle.dumps(runner._task("rollouts")))
    assert task.name == "rollouts" and task.retries == runner._task("rollouts").retries


def test_the_flow_is_pickled_without_its_listener() -> None:
    assert cloudpickle.loads(cloudpickle.dumps(ssb)).name == "ssb"
