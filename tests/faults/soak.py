"""As many faults as wanted: ``python -m tests.faults.soak --kills 100 --seed 0``, or ``make soak``.

An uninterrupted run gives the moments at which faults can strike, and the seed decides which of them are drawn.
`tests.faults.chain` says what must hold after each.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from tests.faults.chain import ANYWHERE, PLACES, Chain, Record, killed, polite, refused, short_of_files, succeeded
from tests.support.faults import FILLER, Fault
from tests.support.subject import STAGE, Subject

LINKS = 10  # faults in a chain
DISK = "24m"
INSTANT, STOP = "SIGKILL at any instant", "SIGSTOP, then SIGCONT"
STRIKES = {
    "SIGKILL": ("SIGKILL before a change of a file", killed),
    "later": ("SIGKILL within 0.3 s of one", killed),
    "SIGTERM": ("SIGTERM", polite(143)),
    "SIGINT": ("SIGINT", polite(130)),
    "fill": ("disk full", refused("No space left on device (0.0 MB free)")),
}


@dataclass
class Soak:
    """Campaigns of faults, each against fresh folders below `folder`."""

    subject: Subject
    folder: Path
    seed: int

    def __post_init__(self) -> None:
        self.random, self.record = random.Random(self.seed), Record()
        self.reference = self.folder / "reference"
        done = self.subject.attempt(self.reference)
        assert done.code == 0, done.log
        self.seconds, self.journal = done.seconds, done.journal

    def moments(self, count: int) -> list[str]:
        """Draw `count` different changes of files evenly from the stages, in the order in which they are made."""
        stages: dict[str, list[str]] = {place: [] for place in PLACES}
        place = "begin"
        for line in dict.fromkeys(self.journal):
            if line.startswith(STAGE):
                place = line.removeprefix(STAGE)
            else:
                stages[place].append(line)
        pools = [self.random.sample(lines, len(lines)) for lines in stages.values()]
        drawn: list[str] = []
        while len(drawn) < count and any(pools):
            drawn += [pool.pop() for pool in pools if pool][: count - len(drawn)]
        return sorted(drawn, key=self.journal.index)

    def kill_at_instants(self, count: int) -> None:
        """Send SIGKILL at any instant."""
        while (so_far := self.record.of(INSTANT)) < count:
            with self.fresh_folder() as paths, self.chain(*paths) as chain:
                for _ in range(min(LINKS, count - so_far)):
                    after = self.random.uniform(0, self.seconds / 3)
                    if chain.attempt(INSTANT, killed, signals=[(after, "SIGKILL")]).code == 0:
                        break

    def strike(self, kinds: Sequence[str], count: int) -> None:
        """Let faults that end the try strike right before a change of a file; `kinds` take turns.

        A full disk has no space for a byte, or only for a page.
        """
        moments = self.moments(count)
        if "fill" in kinds:  # there must be something left to write, and no checkpoint to delete, which frees space
            last = max(n for n, line in enumerate(self.journal) if line.startswith("open "))
            moments = [at for at in moments if self.journal.index(at) <= last]
            moments = [at for at in moments if not ("store/distill/" in at and "/manifests/" in at)]
        for part in _split(moments):
            faults = deque(zip(part, cycle(kinds), strict=False))
            while faults:
                with (
                    self.small_disk() if "fill" in kinds else self.fresh_folder() as paths,
                    self.chain(*paths) as chain,
                ):
                    self._strike(chain, faults)

    def _strike(self, chain: Chain, faults: deque[tuple[str, str]]) -> None:
        """Let faults strike in one folder until the run is done.

        A try that SIGTERM or SIGINT ends may get past the next moment before.
        """
        fresh = True
        while faults:
            at, kind = faults[0]
            amount = self.random.choice((0, 4096)) if kind == "fill" else self.random.randrange(300)
            if kind == "fill" and ".work/" in at:
                amount = 0  # with a page left, training may get to delete old checkpoints, which frees space
            done = chain.attempt(*STRIKES[kind], Fault(at, kind, amount))
            (chain.seen / FILLER).unlink(missing_ok=True)
            if at in done.journal or fresh:
                faults.popleft()
            if done.code == 0:
                return
            fresh = False

    def stop_for_a_while(self, count: int) -> None:
        """Send SIGSTOP, and SIGCONT half a second later, again and again in one try."""
        pauses = []
        for i, instant in enumerate(sorted(self.random.uniform(0, self.seconds / 2) for _ in range(count))):
            pauses += [(instant + 0.5 * i, "SIGSTOP"), (instant + 0.5 * (i + 1), "SIGCONT")]
        with self.fresh_folder() as paths, self.chain(*paths) as chain:
            done = chain.attempt("", succeeded, signals=pauses)
            self.record.counts[STOP, ANYWHERE] += done.signalled // 2

    def refuse_writes(self, count: int) -> None:
        """After a killed try, make the store read-only for the next try, and forbid the one after that to write."""
        writes = [at for at in self.moments(3 * count) if "/shards/" in at or "/checkpoint-" in at]
        for part in _split(sorted(self.random.sample(writes, count), key=self.journal.index)):
            with self.small_disk("store") as paths, self.chain(*paths) as chain:
                for at in part:
                    chain.attempt("", killed, Fault(at))
                    self.subject.mount("-o", "remount,ro", str(chain.folder / "store"))
                    chain.attempt("read-only store", refused("Read-only file system"))
                    self.subject.mount("-o", "remount,rw", str(chain.folder / "store"))
                    with _forbidden(chain.seen / "store"):
                        chain.attempt("no permission to write", refused("Permission denied"))

    def limit_files(self, limits: Sequence[int]) -> None:
        """Limit the number of files that may be open at once."""
        with self.fresh_folder() as paths, self.chain(*paths) as chain:
            for files in limits:
                chain.attempt("few open files", short_of_files, files=files)

    def turn_the_clock_back(self, count: int) -> None:
        """Turn the clock back by a day at some moment."""
        for at in self.moments(count):
            with self.fresh_folder() as paths, self.chain(*paths) as chain:
                chain.attempt("clock a day back", succeeded, Fault(at, "clock"))

    def chain(self, folder: Path, seen: Path) -> Chain:
        """A chain in a folder of the subject, which this process reaches as `seen`."""
        return Chain(self.subject, self.record, self.reference, folder, seen)

    @contextmanager
    def fresh_folder(self) -> Iterator[tuple[Path, Path]]:
        """A folder for a chain: its path for the subject, and for this process."""
        folder = self.folder / f"chain-{self.record.chains + 1}"
        folder.mkdir()
        yield folder, folder

    @contextmanager
    def small_disk(self, part: str = "") -> Iterator[tuple[Path, Path]]:
        """A folder for a chain on a small disk of its own, or with such a disk at `part`."""
        with self.fresh_folder() as (folder, _):
            (folder / part).mkdir(exist_ok=True)
            self.subject.mount("-t", "tmpfs", "-o", f"size={DISK}", "none", str(folder / part))
            yield folder, self.subject.seen(folder)


def _split(moments: list[str]) -> list[list[str]]:
    """Moments for as many chains as are needed, each in order."""
    n = -(-len(moments) // LINKS)
    return [moments[i::n] for i in range(n)]


@contextmanager
def _forbidden(folder: Path) -> Iterator[None]:
    """Forbid changes in all folders below within the block."""
    modes = {p: p.stat().st_mode for p in folder.rglob("*") if p.is_dir()}
    for path in modes:
        path.chmod(0o500)
    yield
    for path, mode in modes.items():
        path.chmod(mode)


def run(kills: int, seed: int, folder: Path) -> Soak:
    """Kill at instants, at changes of files and shortly after them; let every other fault strike a tenth as often."""
    with Subject(folder / "logs") as subject:
        soak, few = Soak(subject, folder, seed), max(1, kills // 10)
        soak.kill_at_instants(kills // 3)
        soak.strike(["SIGKILL"], kills // 3)
        soak.strike(["later"], kills - 2 * (kills // 3) + few)  # a few of them come after the run has ended
        soak.strike(["SIGTERM", "SIGINT"], 2 * few)
        soak.strike(["fill"], 3 * few)
        soak.refuse_writes(few)
        soak.limit_files(range(8, 8 + 2 * min(few, 10), 2))
        soak.stop_for_a_while(few)
        soak.turn_the_clock_back(max(1, few // 2))
    return soak


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    folder, started = Path(tempfile.mkdtemp(prefix="ssb-soak-")), time.monotonic()
    soak = run(options.kills, options.seed, folder)
    record = soak.record
    print(record.table())
    print(
        f"\nseed {options.seed}: {record.counts.total()} faults in {record.chains} folders, "
        f"{len(record.problems)} problems, {time.monotonic() - started:.0f} s; "
        f"an uninterrupted run took {soak.seconds:.1f} s"
    )
    for problem in record.problems:
        print(f"\n{problem}", file=sys.stderr)
    if record.problems:
        print(f"\ntheir folders are in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
