"""docs/configuration.md is what the settings say of themselves."""

from __future__ import annotations

from pathlib import Path

from ssb_core.config import RunConfig, presets, reference

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference.page(), f"{PAGE} is stale; remedy: make reference"


def test_every_section_and_field_has_a_description() -> None:
    schema = RunConfig.model_json_schema()
    sections = {"RunConfig": schema, **schema["$defs"]}
    undescribed = {
        f"{name}.{field}"
        for name, section in sections.items()
        for field, content in section.get("properties", {}).items()
        if not content.get("description")
    }
    assert undescribed == set()
    assert [name for name, section in sections.items() if not section.get("description")] == []


def test_values_are_shown_with_their_bounds() -> None:
    page = reference.page()
    assert "| `samples` | an integer from 2 to 10,000 | `4` |" in page
    assert "| `limit` | an integer of at least 1, or null | `null` |" in page
    assert "| `codec` | hidden, topk or dense |" in page
    assert all(f"* `{name}`: {presets.summarize(name)}" in page for name in presets.preset_names())
    assert r"KL(teacher \|\| student)" in page
    assert "## `evaluate.benchmarks[]`" in page
