"""Read every file of a store again: is it what was written, and does everything exist that a manifest lists?

Unfinished work (a shard without its sidecar, a checkpoint) is no damage: the next run goes on from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..progress import Progress
from .files import DAMAGED, TEMPORARY, UNREADABLE
from .layout import RECIPE, TABLE, is_manifest, is_sidecar, sidecar_name, split
from .manifest import FileEntry, ListedFile, Manifest, Recipe, Sidecar
from .store import Store

UNREAD = "unread: "  # a prefix of the reason why a file could not be read, in place of its checksum


@dataclass(frozen=True, slots=True)
class Finding:
    """A file that is not what it should be. Setting aside `files` makes the next run make it again."""

    path: Path
    problem: str
    files: tuple[Path, ...]


@dataclass(slots=True)
class Checked:
    """Numbers of manifests, files and bytes that were read, and of files set aside or left by killed writers."""

    manifests: int = 0
    files: int = 0
    bytes: int = 0
    leftovers: int = 0
    findings: list[Finding] = field(default_factory=list)


def verify(store: Store, progress: Progress) -> Checked:
    """Read everything and compare it with its checksums. Changes nothing."""
    checked, listed = Checked(), files_by_recipe(store)
    progress.begin("verify", sum(map(len, listed.values())), "files")
    for (stage, recipe), files in listed.items():
        checked.leftovers += sum(n.endswith((DAMAGED, TEMPORARY)) for n in files)
        _RecipeAudit(store, store.root / stage / recipe, files, checked).run()
        progress.advance(len(files))
    progress.end()
    return checked


def files_by_recipe(store: Store, below: Sequence[str] = ()) -> dict[tuple[str, str], dict[str, ListedFile]]:
    """Every file of every recipe (or of those in the folder `below`), by its name below its recipe's folder.

    A recipe is a stage and a hash.
    """
    listed: dict[tuple[str, str], dict[str, ListedFile]] = {}
    for path, file in store.backend.list_files("/".join(below)).items():
        if parts := split(path):
            stage, recipe, name = parts
            listed.setdefault((stage, recipe), {})[name] = file
    return listed


def set_aside(store: Store, findings: Sequence[Finding]) -> None:
    """Set damaged files aside, so that the next run that needs them makes them again.

    Each recipe is checked once more while no other process can write there. A recipe that is being written is skipped.
    """
    for stage, recipe in sorted({f.path.relative_to(store.root).parts[:2] for f in findings}):
        with store.try_exclusive(stage, recipe) as held:
            again = Checked()
            if held:
                files = files_by_recipe(store, (stage, recipe)).get((stage, recipe), {})
                _RecipeAudit(store, store.root / stage / recipe, files, again).run()
            for finding in again.findings:
                store.set_aside(finding.files, finding.problem)


class _RecipeAudit:
    """The check of one recipe's folder. Each file is read once, no matter how many manifests list it."""

    def __init__(self, store: Store, folder: Path, files: dict[str, ListedFile], checked: Checked) -> None:
        self.store = store
        self.folder = folder
        self.files = files
        self.checked = checked
        self.checksums: dict[str, str | None] = {}
        self.noted: set[tuple[str, str]] = set()

    def run(self) -> None:
        self._check_recipe()
        for name in sorted(filter(is_manifest, self.files)):
            manifest = self._parse(name, Manifest.read)
            if isinstance(manifest, Manifest):
                self.checked.manifests += 1
                for file in manifest.files:
                    self._check_file(file, self.folder / name)
        for name in sorted(filter(is_sidecar, self.files)):
            shard = self._parse(name, Sidecar.read, (name.removesuffix(".json") + TABLE,))
            if isinstance(shard, Sidecar):  # its request may be unfinished, or it may disagree with the manifest
                self._check_file(shard.file, self.folder / name)

    def _check_recipe(self) -> None:
        content = self._parse(RECIPE, lambda path: dict(json.loads(path.read_bytes())))
        if isinstance(content, dict) and Recipe(self.folder.parent.name, content).hash != self.folder.name:
            self._note(RECIPE, "belongs to another recipe", ())

    def _parse(self, name: str, read: Callable[[Path], object], depending: tuple[str, ...] = ()) -> object:
        """A small file, parsed; None if it does not exist or cannot be read."""
        if name not in self.files:
            return None
        path = self.folder / name
        self.store.backend.refresh([path])
        self._count(name)
        try:
            return read(path)
        except OSError as e:  # this does not mean that the file is damaged
            self._note(name, f"cannot be read ({e.strerror})", None)
        except UNREADABLE as e:
            self._note(name, f"is damaged ({e})", depending)
        return None

    def _check_file(self, file: FileEntry, listed_in: Path) -> None:
        """Check a file that a manifest or sidecar lists."""
        if file.path not in self.checksums:
            self.checksums[file.path] = self._checksum(file.path)
        checksum = self.checksums[file.path]
        sidecar = (sidecar_name(file.path),) if file.path.endswith(TABLE) else ()
        if checksum is None:
            self._note(file.path, f"is missing, but {listed_in.name} lists it", sidecar)
        elif sidecar and sidecar[0] not in self.files:
            self._note(sidecar[0], f"is missing, but {listed_in.name} lists its shard", (file.path,))
        elif checksum.startswith(UNREAD):
            self._note(file.path, f"cannot be read ({checksum.removeprefix(UNREAD)})", None)
        elif checksum != file.sha256:
            self._note(file.path, f"has another checksum than in {listed_in.name}", sidecar)

    def _checksum(self, name: str) -> str | None:
        """A file's checksum, `UNREAD` and the reason, or None if the file does not exist."""
        if name not in self.files:
            return None
        self._count(name)
        try:
            return self.store.backend.sha256(self.folder / name)
        except FileNotFoundError:  # it was deleted while others were read
            return None
        except OSError as e:
            return f"{UNREAD}{e.strerror}"

    def _count(self, name: str) -> None:
        self.checked.files += 1
        self.checked.bytes += self.files[name].bytes

    def _note(self, name: str, problem: str, depending: Sequence[str] | None) -> None:
        """Note a finding once. The file is set aside with those `depending` on it; with None, nothing can be done."""
        files = () if depending is None else tuple(self.folder / n for n in (name, *depending))
        if (name, problem) not in self.noted:
            self.noted.add((name, problem))
            self.checked.findings.append(Finding(self.folder / name, problem, files))
