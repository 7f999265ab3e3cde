"""The sandbox under attack: every text gets a verdict in time, and no process is left behind."""

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import psutil
import pytest

from ssb_core.verify import Verifier, sandbox, sandbox_main
from ssb_core.verify.sandbox import Sandbox
from ssb_core.verify.sandbox_main import MEMORY_BYTES
from tests.support.processes import cpu_of_children, gone

from .poison import POISON

ROOT = Path(__file__).parents[2]
ENDLESS = r"\boxed{\binom{999999999}{444444444}}"
HONEST = r"\boxed{\sqrt{36}}"
DEADLINE = 0.5


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier(deadline=DEADLINE, processes=1) as shared:
        yield shared


def children() -> list[psutil.Process]:
    """The sandbox processes of this process, without those that have just ended."""
    ours = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a zombie is none either
            ours += [process] if sandbox_main.__name__ in process.cmdline() else []
    return ours


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition comes true within so many seconds."""
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


@contextmanager
def warm_verifier(deadline: float) -> Iterator[tuple[Verifier, psutil.Process]]:
    """A verifier with one sandbox process that has already computed something."""
    known = children()
    with Verifier(deadline=deadline, processes=1) as verifier:
        list(verifier.grade([honest()]))
        (process,) = (p for p in children() if p not in known)
        yield verifier, process


def busy(process: psutil.Process, before: float = 0.0) -> float:
    """CPU seconds that the process has used beyond `before`."""
    times = process.cpu_times()
    return times.user + times.system - before


def honest() -> tuple[str, str]:
    """A correct answer and its gold, which no sandbox process has computed before."""
    n = next(_numbers)
    return rf"\boxed{{\sqrt{{{n * n}}}}}", str(n)


_numbers = count(7)


@pytest.mark.parametrize(("text", "status"), [row[1:] for row in POISON], ids=[row[0] for row in POISON])
def test_poison_gets_its_status_and_the_next_honest_answer_is_correct(
    verifier: Verifier, monkeypatch: pytest.MonkeyPatch, text: str, status: str
) -> None:
    if status != "timeout":
        monkeypatch.setattr(verifier._sandbox, "deadline", Sandbox().deadline)
    assert [v.status for v in verifier.grade([(text, "6"), honest()])] == [status, "correct"]


def test_a_deadline_counts_only_the_cpu_time_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def send_asleep(self: sandbox._Process, closed_forms: sandbox.ClosedForms, deadline: float) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)
        send(self, closed_forms, deadline)
        threading.Timer(2 * deadline, os.kill, (self.process.pid, signal.SIGCONT)).start()

    send = sandbox._Process.send
    monkeypatch.setattr(sandbox, "STALL_FACTOR", 10_000)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPROF})  # which sandbox processes would inherit
    try:
        with warm_verifier(deadline=DEADLINE) as (attacked, process):
            with monkeypatch.context() as patch:
                patch.setattr(sandbox._Process, "send", send_asleep)
                (waited,) = attacked.grade([honest()])
            assert waited.status == "correct" and waited.seconds > DEADLINE and not gone(process)
            before = cpu_of_children() + busy(process)
            (endless,) = attacked.grade([(ENDLESS, "6")])
            assert endless.status == "timeout" and gone(process)
            assert DEADLINE <= cpu_of_children() - before + 0.05 < 2 * DEADLINE
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})


TEMPLATES = [  # answers that a sandbox process refuses, or reads as something that is not 6
    (r"9^{{9^{{{n}}}}}", "rejected"),
    (r"({n}!)!", "rejected"),
    (r"\frac{{{n}}}{{\sqrt{{2}}-\sqrt{{2}}}}", "incorrect"),
    (r"{n}-------------------------------------------------------------{n}", "incorrect"),
    (r"\sqrt{{\sqrt{{\sqrt{{\sqrt{{{n}+\pi}}}}}}}}", "incorrect"),
    (r"\binom{{{n}}}{{3}}^{{{n}}}", "incorrect"),
    (r"(x+{n})^{{999}}", "incorrect"),
    (r"\tan(90^\circ\cdot {n})", "incorrect"),
]


def test_a_thousand_poisoned_calls_leak_nothing() -> None:
    """Every call is new to the sandbox, and some kill their process. Processes, files and memory are as before."""
    gc.collect()  # or files that earlier tests forgot might be closed in between
    before_files, before_children = psutil.Process().num_fds(), len(children())
    with Verifier(deadline=1.0, processes=1) as attacked:

        def attack(numbers: Iterable[int]) -> None:
            for n in numbers:
                template, status = TEMPLATES[n % len(TEMPLATES)]
                answer = template.format(n=n)
                if n % 500 == 499:
                    answer, status = rf"\binom{{99999999{n}}}{{444444444}}", "timeout"
                (verdict,) = attacked.grade([(rf"\boxed{{{answer}}}", "6")])
                assert verdict.status == status, answer

        attack(range(101, 599))
        memory, process_memory = psutil.Process().memory_info().rss, max(p.memory_info().rss for p in children())
        attack(range(600, 1101))
        assert psutil.Process().memory_info().rss - memory < 10 * 2**20
        assert max(p.memory_info().rss for p in children()) - process_memory < 50 * 2**20
        assert next(attacked.grade([honest()])).status == "correct"
    assert len(children()) == before_children
    assert psutil.Process().num_fds() == before_files


def test_a_timeout_is_not_remembered_and_not_wrong(verifier: Verifier) -> None:
    first, again = (next(verifier.grade([(ENDLESS, "6")])) for _ in range(2))
    assert first.status == again.status == "timeout"
    assert again.seconds >= DEADLINE  # it was tried again


def test_what_was_computed_is_remembered() -> None:
    with Verifier() as verifier:
        pair = honest()
        list(verifier.grade([pair]))
        verifier._sandbox.close()
        known = children()
        assert next(verifier.grade([pair])).status == "correct"
        assert children() == known


def test_against_a_gold_that_times_out_no_answer_is_incorrect(
    verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a gold is tried only once."""
    gold = r"\binom{999999999}{444444444}"
    same = rf"\boxed{{{gold}}}"
    pairs = [(honest()[0], gold), ("no box", gold), (same, gold)]
    assert [v.status for v in verifier.grade(pairs)] == ["timeout", "no_answer", "correct"]
    monkeypatch.setattr(sandbox._Process, "send", lambda *_: pytest.fail("the gold was sent again"))
    assert verifier.key(gold) is None
    assert [v.status for v in verifier.grade(pairs)] == ["timeout", "no_answer", "correct"]


def test_a_process_that_dies_is_replaced_and_its_answer_tried_again() -> None:
    with warm_verifier(deadline=3.0) as (attacked, process):
        process.kill()
        assert next(attacked.grade([honest()])).status == "correct"


def test_an_answer_that_loses_two_processes_crashed() -> None:
    receive = sandbox._Process.receive

    def receive_and_die(self: sandbox._Process, deadline: float) -> None:
        receive(self, deadline)
        self.process.kill()

    with Verifier(deadline=30.0, processes=1) as attacked:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sandbox._Process, "receive", receive_and_die)  # as soon as they are ready
            crashed = next(attacked.grade([(ENDLESS, "6")]))
        after = next(attacked.grade([honest()]))
    assert crashed.status == "crashed"
    assert after.status == "correct"


def test_a_process_that_stalls_is_replaced_and_its_answer_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def start() -> sandbox._Process:
        monkeypatch.undo()  # the next process does not stall
        return sandbox._Process.start()

    with warm_verifier(deadline=DEADLINE) as (attacked, process):
        process.suspend()
        monkeypatch.setattr(sandbox, "STALL_FACTOR", 1)
        monkeypatch.setattr(sandbox._Process, "start", start)
        (verdict,) = attacked.grade([honest()])
        assert verdict.status == "correct" and gone(process)


def test_sandbox_processes_are_limited_and_get_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary")
    with warm_verifier(deadline=3.0) as (_, process):
        assert "canary" not in json.dumps(process.environ()) and "HOME" not in process.environ()
        assert process.rlimit(psutil.RLIMIT_AS)[0] == MEMORY_BYTES
        assert process.rlimit(psutil.RLIMIT_FSIZE)[0] == 0
        assert process.memory_info().rss < MEMORY_BYTES / 4


def test_closed_forms_are_spread_over_processes_and_return_in_order() -> None:
    pairs = [(rf"\boxed{{\sqrt{{{n * n}}}+\sqrt{{2}}}}", rf"{n}+\sqrt2") for n in range(1, 200)]
    known = {p.pid for p in children()}
    with Verifier(processes=2) as verifier:
        verdicts = list(verifier.grade(pairs))
        assert len([p for p in children() if p.pid not in known]) == 2
    assert {v.status for v in verdicts} == {"correct"}
    assert [v.answer for v in verdicts] == [completion[7:-1] for completion, _ in pairs]


def test_a_verifier_that_nobody_closes_ends_its_processes() -> None:
    known = {p.pid for p in children()}
    forgotten = Verifier()
    list(forgotten.grade([(HONEST, "6")]))
    assert len(children()) > len(known)
    del forgotten
    assert eventually(lambda: {p.pid for p in children()} <= known, 60)


def test_grading_works_in_several_threads_at_once() -> None:
    statuses: list[str] = []

    def grade(n: int) -> None:
        with Verifier(processes=1) as verifier:
            statuses.extend(v.status for v in verifier.grade([(rf"\boxed{{\sqrt{{{n * n}}}}}", str(n))] * 3))

    threads = [threading.Thread(target=grade, args=(n,)) for n in (11, 12, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == ["correct"] * 9


PARENT = r"""
import sys, time
from ssb_core.verify import Verifier
with Verifier(deadline=200.0, processes=1) as verifier:
    list(verifier.grade([(r"\boxed{\sqrt{36}}", "6")]))
    print("ready", flush=True)
    endless = r"\binom{999999999}{444444444}"
    if sys.argv[1] == "grades":
        list(verifier.grade([(rf"\boxed{{{endless}}}", "6")]))
    verifier._sandbox.idle[0].send(verifier._read_gold(endless).closed_forms, 1.0)
    time.sleep(200)
"""


@contextmanager
def computing(does: str) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """Another process that grades something endless, or only sends it with a short deadline; its sandbox is busy."""
    command, environment = [sys.executable, "-c", PARENT, does], os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True) as parent:
        try:
            assert parent.stdout and parent.stdout.readline() == "ready\n"
            (process,) = psutil.Process(parent.pid).children()
            before = busy(process)
            assert eventually(lambda: busy(process, before) > 0.2, 60)
            yield parent, process
        finally:
            parent.kill()


def test_a_killed_parent_leaves_no_process_behind() -> None:
    """Even a process in an endless computation ends: the kernel kills it at its deadline."""
    with computing("sends") as (parent, process):
        parent.kill()
        parent.wait()
        assert eventually(lambda: gone(process), 60)


def test_ctrl_c_during_a_batch_leaves_no_process_behind() -> None:
    with computing("grades") as (parent, process):
        parent.send_signal(signal.SIGINT)
        parent.wait(60)
        assert gone(process)


FORKING = """
import os
from ssb_core.verify import Verifier
with Verifier(processes=1) as verifier:
    def right(n):
        pairs = [(rf"\\boxed{{\\sqrt{{{k * k}}}}}", str(k)) for k in range(n, n + 20)]
        return [v.status for v in verifier.grade(pairs)]
    assert set(right(100)) == {"correct"}
    child = os.fork()
    assert set(right(200 if child else 300)) == {"correct"}
    if not child:
        verifier._sandbox.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert set(right(400)) == {"correct"}
    print("done")
"""


def test_after_a_fork_parent_and_child_have_their_own_processes() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", FORKING], env=environment, capture_output=True, text=True, timeout=200)
    assert done.stdout == "done\n", done.stderr


def test_processes_that_do_not_start_raise_the_cause(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no SymPy here >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    known = children()
    with Verifier() as verifier, pytest.raises(RuntimeError, match="does not start: no SymPy here"):
        list(verifier.grade([honest()]))
    assert set(children()) <= set(known)


def test_processes_are_recycled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "RECYCLE_AFTER", 2)
    seen = set()
    with Verifier(processes=1) as verifier:
        for _ in range(4):
            assert next(verifier.grade([honest()])).status == "correct"
            seen |= {p.pid for p in children()}
    assert len(seen) >= 2


MESSAGES = [
    (b'{"number": 1, "keys": ["n:1"], "status": null}\n', sandbox.Reply(("n:1",))),
    (b'{"number": 1, "keys": [], "status": "rejected"}\n', sandbox.Reply((), "rejected")),
    (b'{"number": 2, "keys": ["n:1"], "status": null}\n', sandbox.Reply((), "crashed")),
    (b'{"number": 1, "keys": [5], "status": null}\n', sandbox.Reply((), "crashed")),
    (b'{"number": 1, "keys": ["n:1"], "status": "correct"}\n', sandbox.Reply((), "crashed")),
    (b'{"number": 1, "keys": [], "status": null}\n', sandbox.Reply((), "crashed")),
    (b"[]\n", sandbox.Reply((), "crashed")),
    (b"[" * 50_000 + b"\n", sandbox.Reply((), "crashed")),
    (b"x" * 50_000, None),
]


@pytest.mark.parametrize(("message", "reply"), MESSAGES)
def test_a_message_that_is_not_a_valid_reply_is_a_crash(message: bytes, reply: sandbox.Reply | None) -> None:
    """Half a line is not a reply yet, so the deadline passes."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs, subprocess.Popen(["true"]) as process:
        sandboxed = sandbox._Process(process, ours, ready=True)
        sandboxed.send(("|1",), 1.0)
        theirs.sendall(message)
        sandboxed.receive(1.0)
        assert (sandboxed.reply and sandboxed.reply._replace(seconds=0.0)) == reply


def test_a_reply_that_arrives_with_the_ready_line_is_not_lost() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs, subprocess.Popen(["true"]) as process:
        starting = sandbox._Process(process, ours)
        starting.send(("|1",), 1.0)
        theirs.sendall(b'\n{"number": 1, "keys": ["n:1"], "status": null}\n')
        starting.receive(1.0)
        assert starting.ready and starting.reply and starting.reply.keys == ("n:1",)
