"""The verifier under attack: every text gets an answer in time, and nothing is left behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path

import psutil
import pytest

from ssb_core.verify import Verifier, workers
from ssb_core.verify.workers import MEMORY_BYTES

from .verify_poison import POISON

ROOT = Path(__file__).parents[2]
ENDLESS = r"\boxed{\binom{999999999}{444444444}}"
HONEST = r"\boxed{\sqrt{36}}"


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier(deadline=1.0, workers=1) as shared:
        yield shared


def children() -> list[psutil.Process]:
    """This process's verifier workers."""
    ours = psutil.Process().children(recursive=True)
    return [p for p in ours if any(workers.__name__ in part for part in p.cmdline())]


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition comes true within so many seconds."""
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize(("text", "statuses"), [row[1:] for row in POISON], ids=[row[0] for row in POISON])
def test_poison_gets_its_status_in_time_and_the_next_honest_answer_is_correct(
    verifier: Verifier, text: str, statuses: str
) -> None:
    poisoned, honest = verifier.grade([(text, "6"), (HONEST, "6")])
    assert poisoned.status in statuses.split("|")
    assert poisoned.seconds < 3.0  # the deadline is 1 s; a busy machine notices late
    assert honest.status == "correct"


def test_a_thousand_poisoned_calls_leak_nothing() -> None:
    """Processes, open files and memory are as before, though workers died by the dozen."""
    quick = [row for row in POISON if "timeout" not in row[2]]
    slow = [row for row in POISON if "timeout" in row[2]]
    rows = [*islice(cycle(quick), 1000 - len(slow)), *slow]
    before_files, before_children = psutil.Process().num_fds(), len(children())
    with Verifier(deadline=0.3, workers=1) as attacked:
        statuses = [next(attacked.grade([(text, "6")])).status for _, text, _ in rows[:500]]
        memory = psutil.Process().memory_info().rss
        statuses += [next(attacked.grade([(text, "6")])).status for _, text, _ in rows[500:]]
        assert psutil.Process().memory_info().rss - memory < 20 * 2**20
        assert all(p.memory_info().rss < MEMORY_BYTES for p in children())
        assert next(attacked.grade([(HONEST, "6")])).status == "correct"
    assert len(statuses) == 1000 and "timeout" in statuses and not {"correct", "crashed"} & set(statuses)
    assert len(children()) == before_children
    assert psutil.Process().num_fds() == before_files


def test_a_timeout_is_not_remembered_and_not_wrong(verifier: Verifier) -> None:
    first, again = (next(verifier.grade([(ENDLESS, "6")])) for _ in range(2))
    assert first.status == again.status == "timeout"
    assert again.seconds > 0.9  # it was tried again


def test_against_a_gold_that_times_out_nobody_is_wrong(verifier: Verifier) -> None:
    gold = r"\binom{999999999}{444444444}"
    assert [v.status for v in verifier.grade([(HONEST, gold), ("no box", gold)])] == ["timeout", "no_answer"]
    assert verifier.key(gold) is None


def test_a_worker_that_is_killed_costs_one_verdict() -> None:
    with Verifier(deadline=20.0, workers=1) as attacked:
        known = {p.pid for p in children()}
        list(attacked.grade([(HONEST, "6")]))
        (worker,) = (p for p in children() if p.pid not in known)
        killer = threading.Timer(0.5, worker.kill)
        killer.start()
        crashed, honest = attacked.grade([(ENDLESS, "6"), (HONEST, "6")])
        killer.join()
    assert crashed.status == "crashed"
    assert honest.status == "correct"


def test_a_worker_that_is_stopped_is_replaced_at_the_deadline() -> None:
    with Verifier(deadline=0.5, workers=1) as attacked:
        known = {p.pid for p in children()}
        list(attacked.grade([(HONEST, "6")]))
        (worker,) = (p for p in children() if p.pid not in known)
        worker.suspend()
        late, honest = attacked.grade([(r"\boxed{\sqrt{35}}", "6"), (r"\boxed{\sqrt{34}+0}", "6")])
        assert (late.status, honest.status) == ("timeout", "incorrect")
        assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


def test_workers_are_limited_and_know_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary")
    known = {p.pid for p in children()}
    with Verifier() as verifier:
        list(verifier.grade([(HONEST, "6")]))
        (worker,) = (p for p in children() if p.pid not in known)
        assert "canary" not in json.dumps(worker.environ()) and "HOME" not in worker.environ()
        assert worker.rlimit(psutil.RLIMIT_AS)[0] == MEMORY_BYTES
        assert worker.rlimit(psutil.RLIMIT_FSIZE)[0] == 0
        assert 0 < worker.rlimit(psutil.RLIMIT_CPU)[0] < 60
        assert worker.memory_info().rss < MEMORY_BYTES / 4


def test_closed_forms_are_spread_over_workers_and_come_back_in_order() -> None:
    pairs = [(rf"\boxed{{\sqrt{{{n * n}}}+\sqrt{{2}}}}", rf"{n}+\sqrt2") for n in range(1, 200)]
    known = {p.pid for p in children()}
    with Verifier(workers=2) as verifier:
        verdicts = list(verifier.grade(pairs))
        assert len([p for p in children() if p.pid not in known]) == 2
    assert {v.status for v in verdicts} == {"correct"}
    assert [v.answer for v in verdicts] == [completion[7:-1] for completion, _ in pairs]


def test_a_verifier_that_nobody_closes_takes_its_workers_along() -> None:
    known = {p.pid for p in children()}
    forgotten = Verifier()
    list(forgotten.grade([(HONEST, "6")]))
    assert len(children()) > len(known)
    del forgotten
    assert eventually(lambda: {p.pid for p in children()} <= known, 5)


def test_grading_works_in_several_threads_at_once() -> None:
    statuses: list[str] = []

    def grade(n: int) -> None:
        with Verifier(workers=1) as verifier:
            statuses.extend(v.status for v in verifier.grade([(rf"\boxed{{\sqrt{{{n * n}}}}}", str(n))] * 3))

    threads = [threading.Thread(target=grade, args=(n,)) for n in (11, 12, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == ["correct"] * 9


PARENT = """
import sys
from ssb_core.verify import Verifier
with Verifier(deadline=1.0, workers=1) as verifier:
    list(verifier.grade([(r"\\boxed{\\sqrt{36}}", "6")]))
    print("ready", flush=True)
    list(verifier.grade([(r"\\boxed{\\binom{999999999}{444444444}}", "6")]))
"""


def test_a_killed_parent_leaves_no_worker_behind() -> None:
    """Not even one that is in the middle of something endless: its CPU limit ends it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", PARENT], env=environment, stdout=subprocess.PIPE, text=True)
    assert parent.stdout and parent.stdout.readline() == "ready\n"
    (worker,) = psutil.Process(parent.pid).children()
    assert eventually(lambda: worker.cpu_percent(0.1) > 50, 10)  # it has begun
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert eventually(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, 30)


def test_ctrl_c_in_the_middle_of_a_batch_leaves_no_worker_behind() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    script = PARENT.replace("deadline=1.0", "deadline=60.0")
    parent = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert parent.stdout and parent.stdout.readline() == "ready\n"
    (worker,) = psutil.Process(parent.pid).children()
    assert eventually(lambda: worker.cpu_percent(0.1) > 50, 10)
    parent.send_signal(signal.SIGINT)
    parent.wait(10)
    assert not worker.is_running()
