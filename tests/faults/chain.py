"""One folder in which the same command is run until it ends, each try but the last with a fault.

After every try nothing finished may have been made again and no process be left; at the end every file must have the
bytes of an uninterrupted run.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.faults import judge
from tests.faults.subject import Fault, Subject, Try

PLACES = ("begin", "rollouts", "select", "teach", "distill", "evaluate", "end")
ANYWHERE = "anywhere"  # of faults that a try outlives
Check = Callable[[Try, str], bool]


@dataclass
class Record:
    """How often each fault struck in each place, and what went wrong."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    chains: int = 0

    def of(self, kind: str) -> int:
        return sum(n for (k, _), n in self.counts.items() if k == kind)

    def table(self) -> str:
        """What struck where, as Markdown."""
        rows = [["fault", *PLACES, ANYWHERE, "all"], ["---", *["---:"] * (len(PLACES) + 2)]]
        for kind in dict.fromkeys(kind for kind, _ in self.counts):
            each = (self.counts[kind, place] for place in (*PLACES, ANYWHERE))
            rows.append([kind, *(str(n or "") for n in each), str(self.of(kind))])
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)


@dataclass
class Chain:
    """`folder` is where the subject has it, `seen` where we see it; what went wrong goes into `record`."""

    subject: Subject
    record: Record
    reference: Path
    folder: Path
    seen: Path

    def __enter__(self) -> Self:
        self.record.chains += 1
        self.before = len(self.record.problems)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if kind:
            return
        if self.attempt("", succeeded).code == 0:
            self._note("at the end", "differs", judge.differences(self.seen, self.reference))
        if len(self.record.problems) == self.before:
            shutil.rmtree(self.folder, ignore_errors=True)

    def attempt(
        self,
        kind: str,
        check: Check,
        fault: Fault | None = None,
        signals: Sequence[tuple[float, str]] = (),
        files: int = 0,
    ) -> Try:
        """Try with a fault; if it strikes, the try must end as `check` says, and is counted under a `kind`."""
        finished, step = judge.committed(self.seen), judge.checkpoints(self.seen)
        done = self.subject.attempt(self.folder, fault, signals, files)
        where = f"try {self.subject.tries}, {fault or signals or files or 'undisturbed'}"
        timed = bool(signals) or (fault is not None and fault.do == "later")
        struck = not (fault and fault.at not in done.journal) and not (timed and done.code == 0)
        if struck and kind:
            self.record.counts[kind, done.stage(fault.at if fault and not timed else None)] += 1
        if not struck and done.code and fault:
            self._note(where, f"exit code {done.code} before its fault", [done.log[-1500:]])
        if struck and not check(done, str(self.folder)):
            self._note(where, f"exit code {done.code}", [done.log[-1500:]])
        self._note(where, "made again", judge.redone(finished, judge.committed(self.seen)))
        self._note(where, "left running", done.left)
        steps = (f"checkpoint-{k}/trainer_state.json" for k in range(1, step + 1))
        self._note(where, "trained again", [s for s in steps if any(line.endswith(s) for line in done.changes)])
        return done

    def _note(self, where: str, what: str, problems: Sequence[str]) -> None:
        self.record.problems += [f"chain {self.record.chains}, {where}: {what}: {p}" for p in problems]


def succeeded(t: Try, folder: str) -> bool:
    return t.code == 0


def killed(t: Try, folder: str) -> bool:
    return t.code == -9


def polite(code: int) -> Check:
    """It says that the same command continues, and ends with `code`."""
    return lambda t, _: t.code == code and "the same command continues from there" in t.log and "Traceback" not in t.log


def refused(why: str) -> Check:
    """It ends with one message that names a path and the remedy and says why."""

    def check(t: Try, folder: str) -> bool:
        clear = t.code == 1 and t.log.count("error: ") == 1 and "Traceback" not in t.log
        return clear and why in t.log and folder in t.log and "remedy: " in t.log

    return check


def short_of_files(t: Try, folder: str) -> bool:
    """It manages, or says in one message what it is short of; what it could not open may be its own program's."""
    return t.code == 0 or refused("Too many open files")(t, "")
