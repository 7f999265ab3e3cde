"""Manifests that were checked lately, so that a run does not check the same ones again and again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .manifest import Manifest

Stamp = tuple[int, int]  # inode and time of modification in nanoseconds


@dataclass(slots=True)
class ManifestMemory:
    """Checked manifests by path. They are remembered only while a block of `remembering` is open.

    Each is kept with the stamp that its file had before it was checked, and is forgotten when the file has another.
    """

    _blocks: set[object] = field(default_factory=set)  # one member for each block that is open, in any thread
    _known: dict[Path, tuple[Stamp, Manifest]] = field(default_factory=dict)

    def __reduce__(self) -> tuple[type[ManifestMemory], tuple[()]]:
        """Stay in this process: no block would ever end in another one."""
        return ManifestMemory, ()

    @property
    def active(self) -> bool:
        """Whether a block is open."""
        return bool(self._blocks)

    @contextlib.contextmanager
    def remembering(self) -> Iterator[None]:
        """Remember within the block. The last of several blocks that are open forgets everything at its end."""
        block = object()
        self._blocks.add(block)
        try:
            yield
        finally:
            self._blocks.discard(block)
            if not self._blocks:
                self.clear()

    def recall(self, path: Path) -> Manifest | None:
        """The manifest at `path`, if it is remembered and its file is the same."""
        stamp, manifest = self._known.get(path, (None, None))
        return manifest if stamp and stamp == _stamp(path) else None

    def keep(self, path: Path, check: Callable[[], Manifest | None]) -> Manifest | None:
        """Check the manifest at `path`, and remember it if it passes."""
        stamp = _stamp(path)
        manifest = check()
        if manifest and stamp and self.active:
            self._known[path] = stamp, manifest
        return manifest

    def forget(self, recipe: Path) -> None:
        """Forget the manifests below a recipe's folder."""
        for path in [p for p in list(self._known) if p.is_relative_to(recipe)]:
            self._known.pop(path, None)

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()


def _stamp(path: Path) -> Stamp | None:
    """The stamp of a file, which changes when the file is replaced; None if there is no such file."""
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns
