"""The Prefect UI, seen by a browser: a finished run's tables, texts and pictures, hostile text as text, and the form.

What it saw is left in tests/ui/out for a person to look at.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from prefect.utilities.callables import parameter_schema

from flows.ssb import ssb
from ssb_core.report import markdown
from tests.support.processes import api, run_ssb
from tests.tasks.test_storyteller import HOSTILE
from tests.ui.conftest import COMMAND, READY, Visitor

SHOWN = {
    "ssb-0-plan": ("Plan", "rollouts wave 1", "never run", "What came of it"),
    "ssb-1-rollouts": ("Rollouts", "p95", "tokens/s", "transformers"),
    "ssb-2-selection": ("Selection", "mixed", "of those asked", "majority wrong answer", "A pair: nano-train-"),
    "ssb-3-solution": ("A taught solution", "Reference answer", "verified again"),
    "ssb-4-signal": ("Teacher signal", "shards certified", "2 of 2", "KL error, largest"),
    "ssb-5-training": ("Training", "12 optimiser steps"),
    "ssb-6-results": ("Results", "On nano-test (partial: 48 of 512 problems)", "95% interval", "Beside accuracy"),
    "ssb-7-report": ("Report", "report.html", "What each stage took", "distill"),
    "ssb-leaderboard-quickstart": ("accuracy", "nano-test (partial)", "ssb", "2 Items"),
}
"""Words that each page shows."""
PICTURES = {"ssb-2-selection": 1, "ssb-5-training": 1, "ssb-6-results": 3}
LOADED = "images => images.every(i => i.complete && i.naturalWidth > 600 && i.getBoundingClientRect().width > 400)"
WIDER = "blocks => blocks.filter(b => b.scrollWidth > b.clientWidth + 1).map(b => b.innerText.slice(0, 80))"


def test_the_run_shows_its_stages_and_its_artifacts(visitor: Visitor, told: dict[str, dict[str, Any]]) -> None:
    run = told["ssb-0-plan"]["flow_run_id"]
    visitor.go(f"/runs/flow-run/{run}")
    visitor.page.get_by_text("Completed").first.wait_for()
    for tab, expected in (("Task Runs", ("rollouts wave 1", "evaluate ssb on nano-test")), ("Artifacts", told)):
        visitor.page.get_by_text(tab, exact=True).click()
        for text in expected:
            visitor.page.get_by_text(text, exact=True).first.wait_for()
        visitor.picture(f"run-{tab.lower().replace(' ', '-')}")
    assert visitor.complaints == []


@pytest.mark.parametrize(("key", "theme"), [*((key, "dark") for key in SHOWN), *((key, "light") for key in PICTURES)])
def test_a_page_shows_what_it_tells(visitor: Visitor, told: dict[str, dict[str, Any]], key: str, theme: str) -> None:
    visitor.choose(theme)
    visitor.go(f"/artifacts/artifact/{told[key]['id']}")
    for text in SHOWN[key]:
        visitor.page.get_by_text(text).locator("visible=true").first.wait_for()
    expect(visitor.page.locator("img[src^='data:']")).to_have_count(PICTURES.get(key, 0), timeout=READY)
    visitor.page.wait_for_function(f"({LOADED})([...document.querySelectorAll(\"img[src^='data:']\")])")
    assert visitor.page.locator("pre").evaluate_all(WIDER) == []
    if key != "ssb-leaderboard-quickstart":  # whose last columns are reached by scrolling
        frames = visitor.page.locator("table").locator("..")
        assert frames.evaluate_all(WIDER) == []
    visitor.picture(f"{key}-{theme}")
    assert visitor.complaints == []


def test_the_plan_leads_to_every_other_page(visitor: Visitor, told: dict[str, dict[str, Any]]) -> None:
    visitor.go(f"/artifacts/artifact/{told['ssb-0-plan']['id']}")
    for key in sorted(told)[1:]:
        with visitor.page.expect_popup() as opened:
            visitor.page.get_by_role("link", name=key).click()
        assert opened.value.url.endswith(f"/artifacts/artifact/{told[key]['id']}")
        opened.value.close()


def test_what_a_model_wrote_stays_text(visitor: Visitor) -> None:
    inline = f"It is {markdown.escaped(HOSTILE)}, {markdown.code(HOSTILE)}"
    columns = markdown.beside({HOSTILE: HOSTILE, "b": "&lt;img src=x onerror=alert(4)&gt;"})
    body = f"# Mine\n\n{inline}\n\n{markdown.fenced(HOSTILE)}\n\n{columns}"
    known = api(visitor.env, "/artifacts/", key="hostile", type="markdown", data=body)["id"]
    for site in ("", "/v2"):
        visitor.go(f"{site}/artifacts/artifact/{known}")
        visitor.page.get_by_role("heading", name="Mine").wait_for()
        visitor.picture(f"hostile{site.replace('/', '-')}")
        found = visitor.page.locator("h1:has-text('Owned'), a[href^='javascript'], img[src='x'], [onerror], td")
        assert found.count() == 0
        assert visitor.page.locator("pre").count() == 2
        assert "<script>alert(1)</script>" in visitor.page.locator("pre").first.inner_text()
    assert [c for c in visitor.complaints if "dialog" in c] == []


def test_each_run_is_a_version_of_the_leaderboard(
    visitor: Visitor, folder: Path, told: dict[str, dict[str, Any]], ui: dict[str, str]
) -> None:
    done = run_ssb(*COMMAND, "--name", "other", env=ui, cwd=folder)  # all cached
    assert done.returncode == 0, done.stderr
    key = "ssb-leaderboard-quickstart"
    versions = [a for a in api(ui, "/artifacts/filter", sort="CREATED_DESC") if a["key"] == key]
    names = [[row["run"] for row in json.loads(a["data"])] for a in versions]
    assert len(names) == 2 and names[0][:2] == ["other"] * 2 and names[0][2:] == names[1]
    visitor.go(f"/artifacts/key/{key}")
    for version in versions:
        visitor.page.get_by_text(re.compile(f"^{version['id'][:8]}")).first.wait_for()
    visitor.picture("leaderboard-history")
    visitor.go(f"/artifacts/artifact/{versions[0]['id']}")
    visitor.page.get_by_text("4 Items").wait_for()
    visitor.picture("leaderboard")


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
        and done.stdout.count("exists, and is left unchanged") == 2
        and "updated" in done.stdout
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
