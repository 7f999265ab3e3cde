"""The architecture's arrows, checked on the imports of every module."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {"ssb_core": {"prefect", "tasks", "flows"}, "tasks": {"flows"}, "flows": set()}
LAZY = ("torch", "transformers", "peft", "datasets", "prefect", "matplotlib", "scipy")


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name.split(".")[0] for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("layer", FORBIDDEN)
def test_no_layer_imports_one_above_it(layer: str) -> None:
    files = list((ROOT / layer).rglob("*.py"))
    assert files
    broken = {str(p.relative_to(ROOT)): bad for p in files if (bad := imported(p) & FORBIDDEN[layer])}
    assert broken == {}


@pytest.mark.parametrize("module", ["ssb_core", "ssb_core.config", "ssb_core.store", "flows.cli"])
def test_importing_it_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {LAZY!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
