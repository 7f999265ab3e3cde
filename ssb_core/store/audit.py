"""Every file of a store read again: is it what was written, and is everything there that a manifest names.

What is unfinished (a shard without its sidecar, work in progress) is no damage: the next run goes on from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ..progress import Progress
from .files import DAMAGED, TEMPORARY, UNREADABLE
from .manifest import FileEntry, ListedFile, Manifest, Recipe, Sidecar
from .store import Store

HASH = 16  # letters of a recipe's hash, which names its folder
UNREAD = "unread: "  # in front of why a file could not be read, in place of its checksum
MODELS = "models"  # converted ones, which can be made again from their files and are no stage's


@dataclass(frozen=True, slots=True)
class Finding:
    """A file that is not what it should be; `files` are to be set aside so that it is made again."""

    path: Path
    what: str
    files: tuple[Path, ...]


@dataclass(slots=True)
class Checked:
    """What was looked at: manifests, files and their bytes, and files that are set aside or left by killed writers."""

    manifests: int = 0
    files: int = 0
    bytes: int = 0
    leftovers: int = 0
    findings: list[Finding] = field(default_factory=list)


def verify(store: Store, progress: Progress) -> Checked:
    """Read everything against its checksums. Changes nothing."""
    found, listed = Checked(), files_by_recipe(store)
    progress.begin("verify", sum(map(len, listed.values())), "files")
    for (stage, name), files in listed.items():
        found.leftovers += sum(n.endswith((DAMAGED, TEMPORARY)) for n in files)
        _Recipe(store, store.root / stage / name, files, found).look()
        progress.advance(len(files))
    progress.end()
    return found


def files_by_recipe(store: Store, below: Sequence[str] = ()) -> dict[tuple[str, str], dict[str, ListedFile]]:
    """Every file of every recipe (or of that in the folder `below`), by its name below its recipe's folder."""
    found: dict[tuple[str, str], dict[str, ListedFile]] = {}
    for name, file in store.backend.list_files("/".join(below)).items():
        stage, recipe, rest = (*name.split("/", 2), "", "")[:3]
        if rest and len(recipe) == HASH and stage != MODELS:
            found.setdefault((stage, recipe), {})[rest] = file
    return found


def set_aside(store: Store, findings: Sequence[Finding]) -> None:
    """Set aside what is damaged, so that the next run that wants it makes it again.

    Each recipe is looked at once more with nobody else writing there; where somebody does, it is left alone.
    """
    for place in sorted({f.path.relative_to(store.root).parts[:2] for f in findings}):
        folder = store.root.joinpath(*place)
        with store.try_exclusive(folder) as alone:
            still = Checked()
            if alone:
                _Recipe(store, folder, files_by_recipe(store, place).get((place[0], place[1]), {}), still).look()
            for finding in still.findings:
                store.backend.set_aside(finding.files, finding.what)


class _Recipe:
    """One recipe's folder; every file is read once, whoever names it."""

    def __init__(self, store: Store, folder: Path, files: dict[str, ListedFile], found: Checked) -> None:
        self.store = store
        self.folder = folder
        self.files = files
        self.found = found
        self.read: dict[str, str | None] = {}
        self.noted: set[tuple[str, str]] = set()

    def look(self) -> None:
        self._recipe()
        for name in sorted(n for n in self.files if n.startswith("manifests/") and n.endswith(".json")):
            manifest = self._parse(name, Manifest.read)
            if isinstance(manifest, Manifest):
                self.found.manifests += 1
                for entry in manifest.files:
                    self._entry(entry, self.folder / name)
        for name in sorted(n for n in self.files if n.startswith("shards/") and n.endswith(".json")):
            shard = self._parse(name, Sidecar.read, (name.removesuffix(".json") + ".parquet",))
            if isinstance(shard, Sidecar):  # of an unfinished request, or to be what the manifest says, too
                self._entry(shard.entry, self.folder / name)

    def _recipe(self) -> None:
        content = self._parse("recipe.json", lambda path: dict(json.loads(path.read_bytes())))
        if isinstance(content, dict) and Recipe(self.folder.parent.name, content).hash != self.folder.name:
            self._note("recipe.json", "is that of another recipe", ())

    def _parse(self, name: str, read: Callable[[Path], object], with_it: tuple[str, ...] = ()) -> object:
        """A small file, parsed; None if it is not there or cannot be."""
        if name not in self.files:
            return None
        path = self.folder / name
        self.store.backend.refresh([path])
        self.found.files += 1
        self.found.bytes += self.files[name].bytes
        try:
            return read(path)
        except OSError as e:  # says nothing of what was written
            self._note(name, f"cannot be read ({e.strerror})", None)
        except UNREADABLE as e:
            self._note(name, f"is damaged ({e})", with_it)
        return None

    def _entry(self, entry: FileEntry, named_by: Path) -> None:
        """A file that a manifest or sidecar names."""
        if entry.path not in self.read:
            self.read[entry.path] = self._hash(entry.path)
        found = self.read[entry.path]
        sidecar = (str(PurePosixPath(entry.path).with_suffix(".json")),) if entry.path.endswith(".parquet") else ()
        if found is None:
            self._note(entry.path, f"is missing, though {named_by.name} names it", sidecar)
        elif sidecar and sidecar[0] not in self.files:
            self._note(sidecar[0], f"is missing, though {named_by.name} names its shard", (entry.path,))
        elif found.startswith(UNREAD):
            self._note(entry.path, f"cannot be read ({found.removeprefix(UNREAD)})", None)
        elif found != entry.sha256:
            self._note(entry.path, f"is not what {named_by.name} says (checksum)", sidecar)

    def _hash(self, name: str) -> str | None:
        if name not in self.files:
            return None
        self.found.files += 1
        self.found.bytes += self.files[name].bytes
        try:
            return self.store.backend.sha256(self.folder / name)
        except FileNotFoundError:  # it went while others were read
            return None
        except OSError as e:
            return f"{UNREAD}{e.strerror}"

    def _note(self, name: str, what: str, with_it: Sequence[str] | None) -> None:
        """Note a finding once; without `with_it` nothing can be set aside for it."""
        files = () if with_it is None else tuple(self.folder / n for n in (name, *with_it))
        if (name, what) not in self.noted:
            self.noted.add((name, what))
            self.found.findings.append(Finding(self.folder / name, what, files))
