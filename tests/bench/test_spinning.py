"""What waiting threads cost: OpenMP's default spinning and the one that ssb sets, idle and busy."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bench.measure import Figures
from tests.support.processes import ROOT, run_ssb

pytestmark = pytest.mark.bench
UNSET = ("OMP_", "GOMP_", "PREFECT_", "SSB_")
ENV = {k: v for k, v in os.environ.items() if not k.startswith(UNSET)} | {"PYTHONPATH": str(ROOT)}
DEFAULT = "300000"  # libgomp's, where there are no more threads than cores
SAMPLE = """
import time
from pathlib import Path
from ssb_core import config, models, problems, prompts
from ssb_core.config.execution import Execution
from ssb_core.engines import SampleRequest, open_sampler
from ssb_core.progress import Progress
model = models.resolve(config.ModelConfig(source="nano", dtype="float32"), Path("store"))
asked = problems.load_problems(config.ProblemsConfig(source="nano-test", limit=128))
with open_sampler(model, Execution(batch_size=64)) as sampler:
    requests = [SampleRequest(sampler.encode(prompts.tutor_messages(p.question)), i) for i, p in enumerate(asked)]
    warm = config.Decoding(temperature=0.8, max_new_tokens=160)
    list(sampler.sample([(0, requests[:4])], warm, Progress()))
    started = time.perf_counter()
    list(sampler.sample([(0, requests)], warm, Progress()))
    print(len(requests) / (time.perf_counter() - started))
"""


def samples_per_second(**changed: str) -> float:
    """The rate of a program that uses the library, with our own setting unless it is changed."""
    done = subprocess.run([sys.executable, "-c", SAMPLE], env=ENV | changed, capture_output=True, text=True, check=True)
    return float(done.stdout)


def seconds_of_demo(folder: Path) -> float:
    """The time of the command of `make demo`, in an empty folder."""
    env = ENV | {"PREFECT_HOME": str(folder / "prefect")}
    started = time.perf_counter()
    done = run_ssb("run", "--preset", "quickstart", env=env, cwd=folder, timeout=1200)
    assert done.returncode == 0, done.stderr
    return time.perf_counter() - started


@contextmanager
def busy_loops(n: int) -> Iterator[None]:
    """Other programs that each want a core."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def test_little_spinning_costs_little_when_idle_and_saves_much_when_a_core_is_busy(figures: Figures) -> None:
    def both() -> tuple[float, float]:
        return samples_per_second(GOMP_SPINCOUNT=DEFAULT), samples_per_second()

    idle = both()
    with busy_loops(1):
        busy = both()
    rows = [
        {"other core": name, "samples/s, default": default, "samples/s, ours": ours, "ratio": ours / default}
        for name, (default, ours) in (("idle", idle), ("busy", busy))
    ]
    figures("sampling with GOMP_SPINCOUNT", rows)
    assert busy[1] > busy[0]


@pytest.mark.timeout(1800)
def test_the_demo_beside_two_busy_loops_takes_at_most_two_and_a_half_times(figures: Figures, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("alone", "busy")]
    for folder in folders:
        folder.mkdir()
    alone = seconds_of_demo(folders[0])
    with busy_loops(2):
        busy = seconds_of_demo(folders[1])
    figures("make demo", [{"alone, s": alone, "beside two busy loops, s": busy, "ratio": busy / alone}])
    assert busy / alone <= 2.5
