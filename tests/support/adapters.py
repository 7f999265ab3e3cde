"""LoRA adapters of nano that no run has trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from ssb_core.results.student import find_adapter
from ssb_core.runs import Run


def other_adapter(run: Run, target: Path, scale: float = 3.0, **fields: Any) -> Path:
    """A copy of the adapter of a run, with its weights scaled and fields of its configuration replaced."""
    source = find_adapter(run).weights
    shutil.copytree(source.parent, target)
    scaled = {name: tensor * scale for name, tensor in load_file(source).items()}
    save_file(scaled, target / source.name, metadata={"format": "pt"})
    config = target / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | fields))
    return target
