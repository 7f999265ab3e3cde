"""The form in which a deployment's run is asked for, seen by a browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prefect.utilities.callables import parameter_schema

from flows.ssb import ssb
from tests.processes import api, run_ssb
from tests.ui.conftest import Visitor


def fields(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every field of every section by its path."""
    return {
        f"{section}.{name}": field
        for section, definition in schema["definitions"].items()
        for name, field in definition.get("properties", {}).items()
    }


def test_every_field_of_the_form_says_what_it_means() -> None:
    schema = parameter_schema(ssb).model_dump()
    mute = [path for path, field in fields(schema).items() if not field.get("description")]
    assert mute == [] and len(fields(schema)) > 80
    assert [n for n, p in schema["properties"].items() if n != "config" and not p.get("description")] == []


def test_the_form_shows_the_presets_values_and_what_they_mean(
    visitor: Visitor, ui: dict[str, str], tmp_path: Path
) -> None:
    for _ in range(2):  # done again it changes nothing
        done = run_ssb("deploy", env=ui, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (
        "pool         gpu" in done.stdout
        and done.stdout.count("there, and left as it is") == 2
        and "renewed" in done.stdout
    )
    found = {d["name"]: d for d in api(ui, "/deployments/filter")}
    assert len(found) == 8 and api(ui, "/automations/count") == 1
    visitor.go(f"/deployments/deployment/{found['quickstart']['id']}/run")
    for text in (
        "Token cap of one completion",
        "Make these stages again though they are cached",
        "Rollouts per problem",
    ):
        visitor.page.get_by_text(text).first.wait_for()
    values = visitor.page.locator("input, textarea").evaluate_all("all => all.map(e => e.value)")
    visitor.picture("form")
    shown = json.dumps(values)
    assert "nano-train" in shown and "160" in values and "1024" in values
