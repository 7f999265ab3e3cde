"""Workers that make shards: Prefect tasks on Ray, here or on other machines, each with an engine of its own.

A worker loads one engine for a request and then makes shard after shard. It gets their names from a
`ShardQueue` and puts the tables into it; the stage's task collects them and stays the only one that commits. The
shards of a worker that died go back to the queue, and another worker is started.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect import get_client, get_run_logger, task
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed

from ssb_core.config.execution import Execution
from ssb_core.errors import ConfigError, StageError
from ssb_core.progress import Progress
from ssb_core.results.wording import count
from ssb_core.stages import Input, Runtime, ShardMaker, ShardPlan, Spec, make_here, stage_module
from ssb_core.stages.isolation import overdue
from ssb_core.stages.runtime import MadeShards
from ssb_core.store import Store

from .ray_queue import Event, ShardQueue

if TYPE_CHECKING:
    import pyarrow as pa
    from prefect_ray import RayTaskRunner

MAX_DEATHS = 3  # a shard is given up after this many workers died while making it
EVERY = 2.0  # seconds between checks of the workers while none reports anything
PATIENCE = 5.0  # seconds in which the last lines of a log arrive


@task(name="worker", description="Make shards of a stage, one after the other.", persist_result=False)
def make_shards(job: dict[str, Any], queue: Any, number: int) -> None:
    """Make the shards that are waiting in the queue; runs on Ray."""
    import ray

    names = iter(lambda: ray.get(queue.get.remote(number)), None)
    first = next(names, None)
    if first is None:  # other workers were faster: do not load an engine for nothing
        return
    with forwarded_stderr(lambda line: queue.put_line.remote(number, line)):
        spec = Spec.load(job)
        plan: ShardPlan = stage_module(spec.stage).plan_shards(spec, Store.at(job["store"]), Runtime(LoggedNotes()))
        inputs = {i.name: i for i in plan.inputs}
        for item, table in plan.make(inputs[name] for name in itertools.chain([first], names)):
            ray.get(queue.put_result.remote(number, item.name, table))


def refuse_unreachable_server(execution: Execution) -> None:
    """Refuse workers on other machines that could not report to Prefect.

    Raises:
        ConfigError: the only server is the temporary one of this process.
    """
    if execution.workers.address and not PREFECT_API_URL.value():
        raise ConfigError(
            "execution.workers.address: workers on other machines need a Prefect server that they can reach, and "
            "PREFECT_API_URL is not set\n"
            "  remedy: prefect server start --host 0.0.0.0, and export PREFECT_API_URL=http://THIS_MACHINE:4200/api"
        )


class LoggedNotes(Progress):
    """Writes notes to the log, and nothing else."""

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


@contextmanager
def forwarded_stderr(write: Callable[[str], Any]) -> Iterator[None]:
    """Call `write` with every line that this process, or one that it starts, writes to stderr within the block."""
    sys.stderr.flush()
    own = os.dup(2)
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)

    def listen() -> None:
        with open(reading, errors="replace") as pipe:
            for line in pipe:
                os.write(own, line.encode())
                write(line.rstrip())

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(own, 2)
        listener.join(PATIENCE)  # a process that outlives the block still holds the pipe


@contextmanager
def ray_shard_maker() -> Iterator[ShardMaker]:
    """Makes the shards of requests that ask for workers on Ray, and all others here.

    A cluster that is started for it ends with the block.
    """
    with ExitStack() as stack:
        clusters: list[Cluster] = []

        def make(spec: Spec, store: Store, plan: ShardPlan, missing: Sequence[Input], progress: Progress) -> MadeShards:
            if not spec.uses_workers:
                yield from make_here(spec, store, plan, missing, progress)
                return
            if not clusters:
                clusters.append(stack.enter_context(cluster(spec.execution)))
            plan.begin(missing, progress)
            pool = WorkerPool(spec, store, clusters[0], missing, progress)
            with _forgetting_lost(spec, clusters, stack), pool:
                for item, table in pool.collect():
                    yield item, table
                    progress.advance(plan.units(item))
            progress.end()

        yield make


@contextmanager
def _forgetting_lost(spec: Spec, clusters: list[Cluster], stack: ExitStack) -> Iterator[None]:
    """Forget a cluster that cannot be reached any more, so that another try begins with a new one."""
    from ray.exceptions import RayError

    try:
        yield
    except RayError as e:
        clusters.clear()
        with suppress(Exception):
            stack.close()
        why = f"{type(e).__name__}: {e}".splitlines()[0]
        raise StageError(f"stage {spec.stage}: the Ray cluster was lost ({why}); finished shards are kept", True) from e


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray cluster: the task runner that submits to it, its queue on this machine, and the numbers of new workers."""

    runner: RayTaskRunner
    queue: Any
    numbers: Iterator[int]


@contextmanager
def cluster(execution: Execution) -> Iterator[Cluster]:
    """The cluster to work on. A cluster that is started here ends with the block."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from prefect_ray import RayTaskRunner
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    workers = execution.workers
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}  # lines come through the queue
    if workers.address is None:
        cores = workers.count * workers.num_cpus  # else Ray starts no more workers than there are cores
        options |= {"address": "local", "num_cpus": cores, "include_dashboard": False}
    else:
        options |= {"address": workers.address}
    terminate = signal.getsignal(signal.SIGTERM)
    with RayTaskRunner(init_kwargs=options) as runner:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, terminate)  # Ray's handler would exit with 1, as if the run had failed
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        queue: Any = ray.remote(ShardQueue).options(num_cpus=0, scheduling_strategy=here).remote()
        try:
            yield Cluster(runner, queue, itertools.count(1))
        finally:
            ray.kill(queue)


class WorkerPool:
    """The workers of one request. A context manager that leaves none of them behind."""

    def __init__(
        self, spec: Spec, store: Store, cluster: Cluster, missing: Sequence[Input], progress: Progress
    ) -> None:
        self.spec = spec
        self.job = {"store": store.location, **spec.dump()}
        self.cluster = cluster
        self.missing = {i.name: i for i in missing}
        self.progress = progress
        self.log = get_run_logger()
        self.working: dict[int, Any] = {}  # futures by the worker's number
        self.deaths: Counter[str] = Counter()  # by the shard that the worker was making; "" for none

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        for future in self.working.values():
            ray.cancel(future.wrapped_future, force=True)
        for future in self.working.values():
            _note_crash(future.task_run_id, "stopped")

    def collect(self) -> Iterator[tuple[Input, pa.Table]]:
        """The missing shards, as they get done.

        Raises:
            StageError: workers died again and again over a shard, or all took longer than they may.
            Exception: the error of a worker.
        """
        import ray

        deadline = time.monotonic() + 3600 * self.spec.execution.stage_hours(self.spec.stage)
        ray.get(self.cluster.queue.put_all.remote(list(self.missing), next(self.cluster.numbers)))
        self._start(min(self.spec.execution.workers.count, len(self.missing)))
        while self.missing or self.working:
            event: Event | None = ray.get(self.cluster.queue.next_event.remote(EVERY if self.missing else 0.05))
            if event and event.shard:
                yield self.missing.pop(event.shard), event.table
            elif event:
                self.log.info("worker %d: %s", event.worker, event.line)
            self._check_workers()
            if time.monotonic() > deadline:
                raise overdue(self.spec)

    def _start(self, more: int) -> None:
        """Start more workers."""
        from prefect_ray.context import remote_options

        for number in itertools.islice(self.cluster.numbers, more):
            worker_task = make_shards.with_options(task_run_name=f"{self.spec.stage} worker {number}")
            with remote_options(**self._resources()), temporary_settings({PREFECT_API_URL: _server()}):
                parameters = {"job": self.job, "queue": self.cluster.queue, "number": number}
                self.working[number] = self.cluster.runner.submit(worker_task, parameters)

    def _resources(self) -> dict[str, Any]:
        """The resources that Ray reserves for each worker.

        Raises:
            ConfigError: no machine of the cluster that was started here can hold one.
        """
        import ray

        workers, nodes = self.spec.execution.workers, [n["Resources"] for n in ray.nodes() if n["Alive"]]
        some = workers.num_gpus is not None or any("GPU" in n for n in nodes)
        gpus = self.spec.execution.gpus_per_worker if some else 0
        if not any(n.get("GPU", 0) >= gpus and n.get("CPU", 0) >= workers.num_cpus for n in nodes):
            message = f"execution.workers: no machine has {workers.num_cpus} cores and {gpus:g} GPUs for one"
            if workers.address is None:
                raise ConfigError(f"{message}\n  remedy: lower num_cpus or num_gpus, or name a cluster (address)")
            self.progress.note(f"{message}; waiting for one that has")
        return {"num_cpus": workers.num_cpus, "num_gpus": gpus, "max_retries": 0}

    def _check_workers(self) -> None:
        """Raise the errors of workers, and replace workers that died."""
        import ray

        ended, _ = ray.wait(refs := [f.wrapped_future for f in self.working.values()], num_returns=len(refs), timeout=0)
        for number in [n for n, f in self.working.items() if f.wrapped_future in ended]:
            future = self.working.pop(number)
            death = _cause_of_death(future)
            lost, waiting = ray.get(self.cluster.queue.give_back.remote(number))
            if death:
                self._record_death(number, future, death, lost)
                self._start(min(waiting, 1))
            elif lost:
                raise StageError(f"stage {self.spec.stage}: worker {number} left shards out: {', '.join(lost)}")

    def _record_death(self, number: int, future: Any, death: str, lost: Sequence[str]) -> None:
        self.deaths.update(lost or [""])
        self.progress.note(
            f"worker {number} died with {count(len(lost), 'shard')} unfinished, which other workers make: {death}"
        )
        _note_crash(future.task_run_id, death)
        if hopeless := [name for name in lost or [""] if self.deaths[name] >= MAX_DEATHS]:
            when = f"while making shard {hopeless[0]}" if hopeless[0] else "before they made a shard"
            raise StageError(
                f"stage {self.spec.stage}: {MAX_DEATHS} workers died {when}; the last: {death}\n"
                "  remedy: see Ray's log on that machine (/tmp/ray/session_latest/logs); if memory ran out, lower "
                "execution.batch_size, execution.capture_tokens or execution.vllm.kv_cache_gib"
            )


def _server() -> str:
    """The URL of Prefect's API, also if it is the temporary one of this process."""
    with get_client(sync_client=True) as client:
        return str(client.api_url).rstrip("/")


def _cause_of_death(future: Any) -> str:
    """The cause of death of a worker's process; empty if it ended well.

    Raises:
        StageError: it could not begin.
        Exception: the worker's own error.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        state = ray.get(future.wrapped_future)
    except RayTaskError as e:
        raise StageError(f"a worker could not begin: {e}") from e
    except RayError as e:
        return str(e).splitlines()[0].partition(". ")[0].rstrip(".")
    state.result()
    return ""


def _note_crash(task_run_id: Any, why: str) -> None:
    """Mark a worker as crashed: Prefect does not notice by itself that its process is gone."""
    with suppress(Exception), get_client(sync_client=True) as client:
        client.set_task_run_state(task_run_id, Crashed(message=why), force=True)
