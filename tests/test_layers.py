"""The architecture's arrows, read from every import statement: relative, lazy and TYPE_CHECKING ones too.

A room is a folder or a loose file of `ssb_core`, and each other package. It may import the floors below it, and itself.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = (
    {"records", "errors", "progress", "suggest", "openmp"},
    {"config", "store", "verify"},
    {"problems", "prompts"},
    {"models"},
    {"engines", "signal"},
    {"training", "nano"},
    {"stages"},
    {"evaluation", "runs"},
    {"results"},
    {"report", "doctor"},
    {"api", "export", "tasks"},
    {"flows"},
)
"""Rooms from the ground up."""

PUBLIC = "ssb_core"
"""The public API, which may name every room of `ssb_core`; only `tasks` and `flows` may import it."""

LAZY = ("torch", "transformers", "peft", "datasets", "prefect", "matplotlib", "scipy")


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Every module of the project by its dotted name; a package is named for its `__init__`."""
    return {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for package in ("ssb_core", "tasks", "flows")
        for path in sorted((root / package).rglob("*.py"))
    }


def imports(name: str, path: Path, known: Mapping[str, Path]) -> set[str]:
    """The modules in `known` that a module imports anywhere in its text."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, node.module] if node.module else base)
            found |= {f"{stem}.{a.name}" if f"{stem}.{a.name}" in known else stem for a in node.names}
    return (found & known.keys()) - {name}


def room(module: str) -> str:
    """The room that a module belongs to."""
    top, _, rest = module.partition(".")
    return rest.partition(".")[0] or top if top == "ssb_core" else top


def graph(root: Path = ROOT) -> dict[str, set[str]]:
    """What every module imports."""
    known = modules(root)
    return {name: imports(name, path, known) for name, path in known.items()}


def upward(arrows: Mapping[str, set[str]]) -> Iterator[str]:
    """Imports of a floor that is not below, between two rooms; and rooms without a floor."""
    floor_of = {r: number for number, rooms in enumerate(FLOORS, start=1) for r in rooms}
    for name, targets in arrows.items():
        here = room(name)
        if name == PUBLIC:
            continue
        if here not in floor_of:
            yield f"{name} has no floor"
            continue
        for target in sorted(targets):
            there = room(target)
            if there != here and floor_of.get(there, 99) >= floor_of[here]:
                yield f"{name} imports {target}"


def circle(arrows: Mapping[str, set[str]]) -> list[str]:
    """The files of a circle of imports, or nothing."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as e:
        return list(e.args[1])
    return []


def test_every_import_goes_to_a_lower_floor_or_stays_in_its_room() -> None:
    assert sorted(upward(graph())) == []


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circle(graph()) == []


@pytest.mark.parametrize(
    ("file", "line", "sin"),
    [
        ("store/files.py", "from ..stages import spec", "ssb_core.store.files imports ssb_core.stages.spec"),
        ("store/files.py", "def f(): from .. import engines", "ssb_core.store.files imports ssb_core.engines"),
        ("verify/x.py", "if TYPE_CHECKING:\n    import flows.ssb", "ssb_core.verify.x imports flows.ssb"),
        ("verify/x.py", "from ssb_core.store.files import digest", "ssb_core.verify.x imports ssb_core.store.files"),
        ("somewhere/x.py", "", "ssb_core.somewhere.x has no floor"),
    ],
)
def test_an_import_that_goes_upward_is_named(file: str, line: str, sin: str, tmp_path: Path) -> None:
    for package in ("ssb_core", "tasks", "flows"):
        for path in (ROOT / package).rglob("*.py"):
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(path.read_text())
    changed = tmp_path / "ssb_core" / file
    changed.parent.mkdir(exist_ok=True)
    changed.write_text(f"{changed.read_text() if changed.exists() else ''}\n{line}\n")
    assert set(upward(graph(tmp_path))) - set(upward(graph())) == {sin}


def test_a_circle_among_files_is_found_though_one_of_its_imports_is_lazy() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})) == {"a", "b", "c"}


@pytest.mark.parametrize("module", ["ssb_core", "ssb_core.config", "ssb_core.store", "flows.cli.main"])
def test_importing_it_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {LAZY!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
