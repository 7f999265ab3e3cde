"""The Prefect UI in a browser: the pages of a finished run, hostile text, and the form of a deployment.

Screenshots are kept in tests/ui/out, for a person to look at.
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
from tests.support.browser import TIMEOUT, Visitor
from tests.support.markdown import HOSTILE
from tests.support.processes import api, quickstart, run_ssb
from tests.support.settings import SMALL

WORDS = {
    "ssb-0-plan": ("Plan", "rollouts wave 1", "never run", "Results so far"),
    "ssb-1-rollouts": ("Rollouts", "p95", "tokens/s", "transformers"),
    "ssb-2-selection": ("Selection", "mixed", "share", "majority wrong answer", "A pair: nano-train-"),
    "ssb-3-solution": ("A taught solution", "Reference answer", "verified again"),
    "ssb-4-signal": ("Teacher signal", "certified shards", "2 of 2", "KL error, largest"),
    "ssb-5-training": ("Training", "12 optimiser steps"),
    "ssb-6-results": ("Results", "On nano-test (partial: 48 of 512 problems)", "95% interval", "Beside accuracy"),
    "ssb-7-report": ("Report", "report.html", "Time of each stage", "distill"),
    "ssb-leaderboard-quickstart": ("accuracy", "nano-test (partial)", "ssb", "2 Items"),
}
"""Words of each page."""
PICTURES = {"ssb-2-selection": 1, "ssb-5-training": 1, "ssb-6-results": 3}
LOADED = "images => images.every(i => i.complete && i.naturalWidth > 600 && i.getBoundingClientRect().width > 400)"
WIDER = "blocks => blocks.filter(b => b.scrollWidth > b.clientWidth + 1).map(b => b.innerText.slice(0, 80))"


def test_the_run_shows_its_stages_and_its_artifacts(visitor: Visitor, artifacts: dict[str, dict[str, Any]]) -> None:
    run = artifacts["ssb-0-plan"]["flow_run_id"]
    visitor.go(f"/runs/flow-run/{run}")
    visitor.page.get_by_text("Completed").first.wait_for()
    for tab, expected in (("Task Runs", ("rollouts wave 1", "evaluate ssb on nano-test")), ("Artifacts", artifacts)):
        visitor.page.get_by_text(tab, exact=True).click()
        for text in expected:
            visitor.page.get_by_text(text, exact=True).first.wait_for()
        visitor.screenshot(f"run-{tab.lower().replace(' ', '-')}")
    assert visitor.complaints == []


@pytest.mark.parametrize(("key", "theme"), [*((key, "dark") for key in WORDS), *((key, "light") for key in PICTURES)])
def test_a_page_shows_its_words_and_pictures(
    visitor: Visitor, artifacts: dict[str, dict[str, Any]], key: str, theme: str
) -> None:
    visitor.choose(theme)
    visitor.go(f"/artifacts/artifact/{artifacts[key]['id']}")
    for text in WORDS[key]:
        visitor.page.get_by_text(text).locator("visible=true").first.wait_for()
    expect(visitor.page.locator("img[src^='data:']")).to_have_count(PICTURES.get(key, 0), timeout=TIMEOUT)
    visitor.page.wait_for_function(f"({LOADED})([...document.querySelectorAll(\"img[src^='data:']\")])")
    assert visitor.page.locator("pre").evaluate_all(WIDER) == []
    if key != "ssb-leaderboard-quickstart":  # its last columns are reached by scrolling
        frames = visitor.page.locator("table").locator("..")
        assert frames.evaluate_all(WIDER) == []
    visitor.screenshot(f"{key}-{theme}")
    assert visitor.complaints == []


def test_the_plan_has_a_link_to_every_other_page(visitor: Visitor, artifacts: dict[str, dict[str, Any]]) -> None:
    visitor.go(f"/artifacts/artifact/{artifacts['ssb-0-plan']['id']}")
    for key in sorted(artifacts)[1:]:
        with visitor.page.expect_popup() as opened:
            visitor.page.get_by_role("link", name=key).click()
        assert opened.value.url.endswith(f"/artifacts/artifact/{artifacts[key]['id']}")
        opened.value.close()


def test_hostile_text_of_a_model_stays_text(visitor: Visitor) -> None:
    inline = f"It is {markdown.escaped(HOSTILE)}, {markdown.code(HOSTILE)}"
    columns = markdown.beside({HOSTILE: HOSTILE, "b": "&lt;img src=x onerror=alert(4)&gt;"})
    body = f"# Mine\n\n{inline}\n\n{markdown.fenced(HOSTILE)}\n\n{columns}"
    artifact = api(visitor.env, "/artifacts/", key="hostile", type="markdown", data=body)["id"]
    for site in ("", "/v2"):
        visitor.go(f"{site}/artifacts/artifact/{artifact}")
        visitor.page.get_by_role("heading", name="Mine").wait_for()
        visitor.screenshot(f"hostile{site.replace('/', '-')}")
        elements = visitor.page.locator("h1:has-text('Owned'), a[href^='javascript'], img[src='x'], [onerror], td")
        assert elements.count() == 0
        assert visitor.page.locator("pre").count() == 2
        assert "<script>alert(1)</script>" in visitor.page.locator("pre").first.inner_text()
    assert [c for c in visitor.complaints if "dialog" in c] == []


def test_each_run_is_a_version_of_the_leaderboard(
    visitor: Visitor, folder: Path, artifacts: dict[str, dict[str, Any]], ui: dict[str, str]
) -> None:
    done = run_ssb(*quickstart("run", SMALL, "--name", "other"), env=ui, cwd=folder)  # all cached
    assert done.returncode == 0, done.stderr
    key = "ssb-leaderboard-quickstart"
    versions = [a for a in api(ui, "/artifacts/filter", sort="CREATED_DESC") if a["key"] == key]
    names = [[row["run"] for row in json.loads(a["data"])] for a in versions]
    assert len(names) == 2 and names[0][:2] == ["other"] * 2 and names[0][2:] == names[1]
    visitor.go(f"/artifacts/key/{key}")
    for version in versions:
        visitor.page.get_by_text(re.compile(f"^{version['id'][:8]}")).first.wait_for()
    visitor.screenshot("leaderboard-history")
    visitor.go(f"/artifacts/artifact/{versions[0]['id']}")
    visitor.page.get_by_text("4 Items").wait_for()
    visitor.screenshot("leaderboard")


def fields(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every field of every section by its path."""
    return {
        f"{section}.{name}": field
        for section, definition in schema["definitions"].items()
        for name, field in definition.get("properties", {}).items()
    }


def test_every_field_of_the_form_says_what_it_means() -> None:
    schema = parameter_schema(ssb).model_dump()
    undescribed = [path for path, field in fields(schema).items() if not field.get("description")]
    assert undescribed == [] and len(fields(schema)) > 80
    assert [n for n, p in schema["properties"].items() if n != "config" and not p.get("description")] == []


def test_the_form_shows_the_presets_values_and_what_they_mean(
    visitor: Visitor, ui: dict[str, str], tmp_path: Path
) -> None:
    for _ in range(2):  # the second time changes nothing
        done = run_ssb("deploy", env=ui, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "pool         gpu" in done.stdout and "updated" in done.stdout
    assert done.stdout.count("exists, and is left unchanged") == 2
    deployments = {d["name"]: d for d in api(ui, "/deployments/filter")}
    assert len(deployments) == 8 and api(ui, "/automations/count") == 1
    visitor.go(f"/deployments/deployment/{deployments['quickstart']['id']}/run")
    schema = parameter_schema(ssb).model_dump()
    rollouts = schema["definitions"]["RolloutsConfig"]["properties"]
    for field in (rollouts["samples"], rollouts["max_new_tokens"], schema["properties"]["force"]):
        visitor.page.get_by_text(field["description"]).first.wait_for()
    values = visitor.page.locator("input, textarea").evaluate_all("all => all.map(e => e.value)")
    visitor.screenshot("form")
    assert "nano-train" in json.dumps(values) and "160" in values and "1024" in values
