"""A read-only sequence of problems that lie in a file: a million of them take little more memory than their order.

They are written once, in the order in which they are read (`Spool`), and looked at through `ProblemSet`: row numbers in
the order of the set. Parts of a set share the file and the numbers. A problem is made when it is asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import weakref
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

from ..errors import ConfigError
from ..records import Problem

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode  # made once: it is called by the million

IN_MEMORY = 2**24  # bytes of a set that is kept in memory; a larger one goes to an unnamed temporary file


class Spool:
    """Problems as lines of text in their order. Threads and forked processes may read at once.

    A line is what `content_digest` hashes of the problem, and behind a tab its labels.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Write `problems` one after the other.

        Raises:
            ConfigError: there is no room for them.
        """
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  closed with the last set of its problems
        weakref.finalize(self, self._file.close)
        self._starts = array("Q", [0])
        for problem in problems:
            line = content(problem) + b"\t" + _json([problem.subject, problem.level])
            self._write(line)
            self._starts.append(self._starts[-1] + len(line))
        self._write(b"")
        self._file.seek(0)
        self._text = b"" if self._starts[-1] > IN_MEMORY else self._file.read()

    def _write(self, line: bytes) -> None:
        """Write a line, or if it is empty all that was held back."""
        try:
            if line:
                self._file.write(line)
            else:
                self._file.flush()
        except OSError as e:
            with contextlib.suppress(OSError):  # it tries to write once more
                self._file.close()
            raise ConfigError(
                f"no room for the problems in the folder of temporary files, {tempfile.gettempdir()}: {e.strerror}\n"
                "  remedy: name another in the environment variable TMPDIR"
            ) from None

    def __len__(self) -> int:
        return len(self._starts) - 1

    def line(self, row: int) -> bytes:
        """The line of one problem."""
        start, end = self._starts[row], self._starts[row + 1]
        return self._text[start:end] or os.pread(self._file.fileno(), end - start, start)


class ProblemSet(Sequence[Problem]):
    """Problems of a spool in some order. Slices are sets too, and copy nothing."""

    __slots__ = ("_digest", "_order", "_part", "_parts", "_spool")

    def __init__(self, spool: Spool, order: Sequence[int], part: range | None = None) -> None:
        """`order` holds row numbers of the spool, of which the set is the `part`: all, if none is given."""
        self._spool, self._order = spool, order
        self._part = range(len(order)) if part is None else part
        self._digest = ""
        self._parts: dict[range, ProblemSet] = {}

    @classmethod
    def of(cls, problems: Iterable[Problem]) -> ProblemSet:
        """A set of these problems, in their order."""
        spool = Spool(problems)
        return cls(spool, range(len(spool)))

    def __len__(self) -> int:
        return len(self._part)

    @overload
    def __getitem__(self, index: int) -> Problem: ...

    @overload
    def __getitem__(self, index: slice) -> ProblemSet: ...

    def __getitem__(self, index: int | slice) -> Problem | ProblemSet:
        if isinstance(index, slice):
            return ProblemSet(self._spool, self._order, self._part[index])
        return _problem(self._spool.line(self._order[self._part[index]]))

    def __iter__(self) -> Iterator[Problem]:
        return map(_problem, self._lines())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of all that is compared by what it holds

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to another process, a set takes its problems along."""
        return ProblemSet.of, (tuple(self),)

    @property
    def digest(self) -> str:
        """`content_digest` of the set, computed once."""
        if not self._digest:
            self._digest = _digest(line.partition(b"\t")[0] for line in self._lines())
        return self._digest

    def part(self, start: int, stop: int) -> ProblemSet:
        """A slice, as the same object when asked for again, so that it is digested once."""
        return self._parts.setdefault(self._part[start:stop], self[start:stop])

    def chunks(self, size: int) -> list[ProblemSet]:
        """The set in parts of `size` problems, the last of which may be smaller."""
        return [self.part(i, i + size) for i in range(0, len(self), size)]

    def _lines(self) -> Iterator[bytes]:
        return (self._spool.line(self._order[i]) for i in self._part)


def content(problem: Problem) -> bytes:
    """What is asked and what is right, as canonical JSON."""
    return _json([problem.id, problem.question, problem.answer])


def content_digest(problems: Sequence[Problem]) -> str:
    """Digest of what is asked and what is right, as shards are named by: `store.digest` of the `content` of all."""
    return problems.digest if isinstance(problems, ProblemSet) else _digest(map(content, problems))


def key(text: str) -> bytes:
    """16 bytes that stand for a text among many: no two texts will ever have the same."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def firsts(keys: bytes | bytearray) -> Iterator[int]:
    """The places, in order, at which `keys` (16 bytes each, one behind the other) holds a key for the first time."""
    import numpy as np

    _, places = np.unique(np.frombuffer(keys, "S16"), return_index=True)
    return map(int, np.sort(places))


def _digest(contents: Iterable[bytes]) -> str:
    hashed, before = hashlib.sha256(b"["), b""
    for one in contents:
        hashed.update(before + one)
        before = b","
    hashed.update(b"]")
    return hashed.hexdigest()[:16]


def _json(values: Sequence[str]) -> bytes:
    return _encode(values).encode()


def _problem(line: bytes) -> Problem:
    asked, _, labels = line.partition(b"\t")
    return Problem(*json.loads(asked), *json.loads(labels))
