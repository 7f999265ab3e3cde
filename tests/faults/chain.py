"""A chain: tries of the same run in one folder, each with a fault except for the last.

After every try, no finished file may have been made again and no process may be left. At the end every file must have
the bytes of an uninterrupted run.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import run_files
from tests.support.faults import Fault
from tests.support.subject import Subject, Try

PLACES = ("begin", "rollouts", "select", "teach", "distill", "evaluate", "end")
ANYWHERE = "anywhere"  # the place of faults that a try survives
Check = Callable[[Try, str], bool]


@dataclass
class Record:
    """How often each fault struck in each place, and the problems that followed."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    chains: int = 0

    def of(self, kind: str) -> int:
        """How often a fault struck."""
        return sum(n for (k, _), n in self.counts.items() if k == kind)

    def table(self) -> str:
        """The counts as a Markdown table."""
        rows = [["fault", *PLACES, ANYWHERE, "all"], ["---", *["---:"] * (len(PLACES) + 2)]]
        for kind in dict.fromkeys(kind for kind, _ in self.counts):
            each = (self.counts[kind, place] for place in (*PLACES, ANYWHERE))
            rows.append([kind, *(str(n or "") for n in each), str(self.of(kind))])
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)


@dataclass
class Chain:
    """A chain in `folder`, which this process reaches as `seen`. Counts and problems go into `record`."""

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
            self._note("at the end", "differs", run_files.differences(self.seen, self.reference))
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
        """Run one try with a fault. If it strikes, it is counted as `kind`, and the try must end as `check` wants."""
        before, step = run_files.finished_files(self.seen), run_files.last_checkpoint(self.seen)
        result = self.subject.attempt(self.folder, fault, signals, files)
        where = f"try {self.subject.tries}, {fault or signals or files or 'undisturbed'}"
        timed = bool(signals) or (fault is not None and fault.do == "later")
        struck = not (fault and fault.at not in result.journal) and not (timed and result.code == 0)
        if struck and kind:
            self.record.counts[kind, result.stage(fault.at if fault and not timed else None)] += 1
        if not struck and result.code and fault:
            self._note(where, f"exit code {result.code} before its fault", [result.log[-1500:]])
        if struck and not check(result, str(self.folder)):
            self._note(where, f"exit code {result.code}", [result.log[-1500:]])
        self._note(where, "made again", run_files.made_again(before, run_files.finished_files(self.seen)))
        self._note(where, "left running", result.left)
        steps = (f"checkpoint-{k}/trainer_state.json" for k in range(1, step + 1))
        self._note(where, "trained again", [s for s in steps if any(line.endswith(s) for line in result.changes)])
        return result

    def _note(self, where: str, label: str, problems: Sequence[str]) -> None:
        self.record.problems += [f"chain {self.record.chains}, {where}: {label}: {p}" for p in problems]


def succeeded(t: Try, folder: str) -> bool:
    return t.code == 0


def killed(t: Try, folder: str) -> bool:
    return t.code == -9


def polite(code: int) -> Check:
    """The try ends with `code` and says that the same command continues."""
    return lambda t, _: t.code == code and "the same command continues from there" in t.log and "Traceback" not in t.log


def refused(reason: str) -> Check:
    """The try ends with one message that names a path, the reason and the remedy; the code is 2 before any work."""

    def check(t: Try, folder: str) -> bool:
        clear = t.code in (1, 2) and t.log.count("error: ") == 1 and "Traceback" not in t.log
        return clear and reason in t.log and folder in t.log and "remedy: " in t.log

    return check


def short_of_files(t: Try, folder: str) -> bool:
    """The try succeeds, or ends with one message about open files, which need not name a file of the store."""
    return t.code == 0 or refused("Too many open files")(t, "")
