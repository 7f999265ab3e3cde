"""A read-only sequence of problems that are kept in a file, so that a million of them need little memory.

A `Spool` writes the problems once, in the order in which they are read. A `ProblemSet` is a view of the spool: row
numbers in the order of the set. Slices of a set share the spool and the row numbers. A `Problem` record is made when it
is accessed.
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

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode  # made once for millions of calls

IN_MEMORY = 2**24  # bytes; a larger set goes to an unnamed temporary file


class Spool:
    """Problems as lines of text, in order. Threads and forked processes may read at the same time.

    A line is the problem's `content`, a tab, and its labels as JSON.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Write all `problems`.

        Raises:
            ConfigError: the disk is full.
        """
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  the finalizer closes it
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
        """Write a line. An empty line flushes the buffer."""
        try:
            if line:
                self._file.write(line)
            else:
                self._file.flush()
        except OSError as e:
            with contextlib.suppress(OSError):  # closing tries to write once more
                self._file.close()
            raise ConfigError(
                f"no room for the problems in the folder for temporary files, {tempfile.gettempdir()}: {e.strerror}\n"
                "  remedy: name another folder in the environment variable TMPDIR"
            ) from None

    def __len__(self) -> int:
        return len(self._starts) - 1

    def line(self, row: int) -> bytes:
        """The line of the problem in that row."""
        start, end = self._starts[row], self._starts[row + 1]
        return self._text[start:end] or os.pread(self._file.fileno(), end - start, start)


class ProblemSet(Sequence[Problem]):
    """Problems of a spool in some order. A slice is a set too, and copies nothing."""

    __slots__ = ("_digest", "_order", "_part", "_parts", "_spool")

    def __init__(self, spool: Spool, order: Sequence[int], part: range | None = None) -> None:
        """`order` has row numbers of the spool; `part` is the range of `order` that the set covers (default: all)."""
        self._spool, self._order = spool, order
        self._part = range(len(order)) if part is None else part
        self._digest = ""
        self._parts: dict[range, ProblemSet] = {}

    @classmethod
    def of(cls, problems: Iterable[Problem]) -> ProblemSet:
        """A set of these problems, in this order."""
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

    __hash__ = None  # type: ignore[assignment]  # it compares by content, like a list

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the problems themselves, so that the set can be sent to another process."""
        return ProblemSet.of, (tuple(self),)

    def content_digest(self) -> str:
        """The digest of the set's content, as shards are named by. The problems are read for it once."""
        if not self._digest:
            self._digest = _digest(line.partition(b"\t")[0] for line in self._lines())
        return self._digest

    def part(self, start: int, stop: int) -> ProblemSet:
        """A slice. The same slice is the same object again, so that its digest is computed once."""
        return self._parts.setdefault(self._part[start:stop], self[start:stop])

    def chunks(self, size: int) -> list[ProblemSet]:
        """The set in parts of `size` problems. The last part may be smaller."""
        return [self.part(i, i + size) for i in range(0, len(self), size)]

    def _lines(self) -> Iterator[bytes]:
        return (self._spool.line(self._order[i]) for i in self._part)


def content(problem: Problem) -> bytes:
    """Id, question and answer as canonical JSON, which identifies a problem."""
    return _json([problem.id, problem.question, problem.answer])


def content_digest(problems: Sequence[Problem]) -> str:
    """`store.digest` of the `content` of all problems. Shards are named by it."""
    return problems.content_digest() if isinstance(problems, ProblemSet) else _digest(map(content, problems))


def text_key(text: str) -> bytes:
    """A 16-byte hash in place of a text. No two texts will ever have the same one."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def first_positions(keys: bytes | bytearray) -> Iterator[int]:
    """The positions, in order, at which a key occurs for the first time in `keys` (16 bytes each, concatenated)."""
    import numpy as np

    _, positions = np.unique(np.frombuffer(keys, "S16"), return_index=True)
    return map(int, np.sort(positions))


def _digest(contents: Iterable[bytes]) -> str:
    hashed, separator = hashlib.sha256(b"["), b""
    for one in contents:
        hashed.update(separator + one)
        separator = b","
    hashed.update(b"]")
    return hashed.hexdigest()[:16]


def _json(values: Sequence[str]) -> bytes:
    return _encode(values).encode()


def _problem(line: bytes) -> Problem:
    fields, _, labels = line.partition(b"\t")
    return Problem(*json.loads(fields), *json.loads(labels))
