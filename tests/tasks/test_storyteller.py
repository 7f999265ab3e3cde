"""What a run's artifacts say, read as Markdown; hostile text stays text; telling never stops a run."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from PIL import Image
from prefect.settings import PREFECT_API_URL, temporary_settings

from ssb_core import report
from ssb_core.config import RunConfig
from ssb_core.report import leaderboard, markdown
from ssb_core.results import queries
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline
from ssb_core.runs.plan import plan
from ssb_core.store import write_json
from tasks import artifacts, storyteller
from tasks.artifacts import Page, Publisher
from tasks.pages import distill, evaluate, rollouts, select, teach
from tasks.pages import plan as plan_page
from tasks.pages import report as report_page
from tests.support.runs import copied, poison, run_stages

HOSTILE = (
    "````\n# Owned\n</code></pre><script>alert(1)</script><img src=x onerror=alert(2)>\n| a | b |\n|---|---|\n| c | d |"
    "\n[click](javascript:alert(3)) ![x](http://evil.example/x.png) <http://evil.example> `tick` ~~~\n~~~\n\n---\n* i "
    "&lt;b&gt; \x1b[31m \u202eevil $x$ \\boxed{1}\n```````"
)
PICTURE = re.compile(r"!\[([^\]]+)\]\(data:image/png;base64,([^)]+)\)")


def parsed(text: str) -> list[Token]:
    """Markdown as the UI reads it: tables, HTML and bare links are on."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    return [inner for t in tokens for inner in (t, *(t.children or ()))]


def tables(text: str) -> list[list[list[str]]]:
    """The cells of every table."""
    blocks = re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)
    return [[[c.strip() for c in line[2:-2].split(" | ")] for line in b.splitlines()] for b in blocks]


def text_of(page: Page | None) -> str:
    assert page and isinstance(page.body, str)
    return page.body


def test_the_plan_says_what_is_cached_and_why_not(quick_run: Run, small: RunConfig) -> None:
    changed = small.model_copy(update={"distill": small.distill.model_copy(update={"epochs": 3})})
    pipeline = Pipeline.of(changed, quick_run.store.root)
    page = plan_page.page("mine", changed, plan(pipeline, quick_run.store), {"select"}, "distill")
    (rows,) = tables(text_of(page))
    assert [row[:2] for row in rows[2:]] == [
        ["rollouts wave 1", "cached"],
        ["select wave 1", "**forced**"],
        ["teach wave 1", "cached"],
        ["distill", "**stale**"],
    ]
    assert "2 -\\> 3" in rows[-1][2]
    assert page.description == "4 requests of mine: 2 cached, 1 forced, 1 stale"


def test_rollouts_are_told_with_token_statistics(quick_run: Run) -> None:
    (manifest,) = quick_run.manifests("rollouts")
    found = quick_run.store.tables(manifest, ["completion_ids"])
    lengths = sorted(len(ids) for table in found for ids in table["completion_ids"].to_pylist())
    page = rollouts.page(quick_run)
    (rows,) = tables(text_of(page))
    told = dict(zip(rows[0], rows[2], strict=True))
    assert told["samples"] == f"{len(lengths):,}" and told["tokens"] == f"{sum(lengths):,}"
    assert float(told["mean"]) == pytest.approx(sum(lengths) / len(lengths), abs=0.51)
    assert lengths[int(0.93 * len(lengths))] <= float(told["p95"]) <= lengths[int(0.97 * len(lengths))] + 1
    assert told["sampled by"].startswith("transformers")


def test_the_funnel_and_two_pairs_are_told(quick_run: Run) -> None:
    counts = quick_run.load_summary()["yield"]
    page = select.page(quick_run)
    (rows,) = tables(text_of(page))
    told = {row[0].strip("*"): row[1:] for row in rows[2:]}
    assert told["sampled"][:2] == [str(counts["problems"]), "100.0%"]
    assert told["mixed"][:2] == [str(counts["mixed"]), f"{100 * counts['mixed'] / counts['problems']:.1f}%"]
    assert told["dropped: all correct"][2].startswith("every rollout is correct")
    assert [t.info for t in parsed(text_of(page)) if t.type == "fence"] == ["text"] * 4
    assert len(re.findall(r"#\d correct, .*#\d wrong, ", text_of(page))) == 2


def test_a_solution_stands_below_the_rollouts_that_it_was_written_from(quick_run: Run) -> None:
    asked, rolled, written = (t.content for t in parsed(text_of(teach.solution(quick_run))) if t.type == "fence")
    assert "Reference answer: " in asked and "with the majority wrong answer" in asked
    assert "\\boxed{" in written
    for line in rolled.splitlines():
        assert len(line) <= markdown.WIDTH
    assert "correct" in rolled.splitlines()[0] and "wrong" in rolled.splitlines()[0]


def test_the_signal_is_told_with_its_certificate(quick_run: Run) -> None:
    signal = quick_run.load_summary()["signal"]
    page = teach.signal(quick_run)
    (rows,) = tables(text_of(page))
    told = dict(rows[2:])
    assert told["codec"] == signal["codec"] and told["tokens"] == f"{signal['tokens']:,}"
    assert told["bytes a token"] == f"{signal['bytes_per_token']:,}"
    assert told["shards certified"] == "2 of 2"
    assert float(told["KL error, largest"].split()[0]) == pytest.approx(signal["max_kl_error"], rel=0.05)


def test_results_are_the_reports_and_leave_nothing_out(quick_run: Run) -> None:
    page = evaluate.finished(quick_run)
    first, second = tables(text_of(page))
    (ours, others) = ([dict(zip(t[0], row, strict=True)) for row in t[2:]] for t in (first, second))
    assert [a | b for a, b in zip(ours, others, strict=True)] == report.results_table(quick_run.load_summary())
    assert page and "base " in page.description and "ssb " in page.description
    words = "".join(t.content for t in parsed(text_of(page)) if t.type == "text")
    assert report.verdict_in_words(quick_run.load_summary()).split(" (at 80%")[0] in words


def test_pictures_are_small_and_wide_enough(quick_run: Run) -> None:
    pages = [select.page(quick_run), distill.page(quick_run), evaluate.finished(quick_run)]
    found = [found for page in pages for found in PICTURE.findall(text_of(page))]
    assert [name for name, _ in found] == ["yield", "training curves", "accuracy", "votes", "lengths"]
    for _, data in found:
        assert len(data) < 40_000
        assert Image.open(io.BytesIO(base64.b64decode(data))).width >= 1000


def test_the_report_is_found_by_its_path(quick_run: Run) -> None:
    text = text_of(report_page.page(quick_run))
    assert f"`{quick_run.directory / 'report.html'}`" in text
    (rows,) = tables(text)
    assert [row[0] for row in rows[2:]] == ["rollouts", "select", "teach", "distill", "evaluate"]


def test_what_models_wrote_cannot_break_a_page(quick_run: Run, tmp_path: Path) -> None:
    run = copied(quick_run, tmp_path)
    innocent = [[t.type for t in parsed(text_of(p))] for p in (select.page(run), teach.solution(run))]
    for stage in ("rollouts", "teach"):
        poison(run, stage, HOSTILE)
    for page, before in zip((select.page(run), teach.solution(run)), innocent, strict=True):
        tokens = parsed(text_of(page))
        assert [t.type for t in tokens] == before
        fences = [t.content for t in tokens if t.type == "fence"]
        assert sum("<script>alert(1)</script>" in text for text in fences) == len(fences) - len(fences) // 2
        assert not any("\x1b" in text or "\u202e" in text for text in fences)


@pytest.mark.parametrize("text", [HOSTILE, "`", "``a`", "a|b", "<b>", "&amp;", "[x](y)", "\\", "#1", "a_b_c"])
def test_escaped_text_is_shown_as_it_is(text: str) -> None:
    shown = markdown.printable(" ".join(text.split()))
    for put in (markdown.escaped, markdown.code):
        tokens = parsed(f"It says {put(text)}.")
        assert {t.type for t in tokens} <= {"paragraph_open", "inline", "text", "code_inline", "paragraph_close"}
        assert "".join(t.content for t in tokens if t.type in ("text", "code_inline")) == f"It says {shown}."


def test_columns_are_wrapped_beside_each_other() -> None:
    told = markdown.beside({"left": "a b\nc", "right": "word " * 30 + "x" * 60})
    lines = told.splitlines()
    assert re.match(r"left {20,}right$", lines[1]) and lines[2].startswith("----")
    assert lines[3].startswith("a b") and lines[4].startswith("c ") and "x" * 40 in told
    assert max(map(len, lines)) <= markdown.WIDTH


def test_the_leaderboard_has_the_latest_first_then_the_best_of_the_same_preset(quick_run: Run, tmp_path: Path) -> None:
    run = copied(quick_run, tmp_path)
    for name, preset, gain in (("worse", "quickstart", -0.2), ("better", "quickstart", 0.2), ("other", "paper", 0.3)):
        other = Run(run.directory.parent / name, run.store)
        other.directory.mkdir()
        (other.directory / "config.yaml").write_bytes((run.directory / "config.yaml").read_bytes())
        found = run.load_summary() | {"run": name, "preset": preset}
        for score in found["benchmarks"]["nano-test"]["models"].values():
            score["accuracy"] += gain
        write_json(other.directory / "summary.json", found)
    (run.directory.parent / "damaged").mkdir()
    (run.directory.parent / "damaged" / "summary.json").write_text("{")
    rows = leaderboard.rows(run)
    assert [row["run"] for row in rows] == ["quick", "quick", "better", "better", "worse", "worse"]
    assert [row["model"] for row in rows[:2]] == ["base", "ssb"]
    assert rows[0]["base"] == "nano" and rows[0]["data"] == "nano-train"
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


@pytest.mark.parametrize("stop", ["rollouts", "select", "teach", "distill"])
def test_a_run_without_its_summary_tells_what_it_finished(
    quick_run: Run, small: RunConfig, tmp_path: Path, stop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_stages(small, copied(quick_run, tmp_path).store, tmp_path / "runs" / "early", stop)
    (run.directory / "summary.json").unlink()
    published = told_by(run, monkeypatch)
    expected = {
        "rollouts": ["ssb-1-rollouts"],
        "select": ["ssb-2-selection"],
        "teach": ["ssb-2-selection", "ssb-3-solution", "ssb-4-signal"],
        "distill": ["ssb-2-selection", "ssb-5-training"],
    }
    assert published == expected[stop]


def told_by(run: Run, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pages that are published when the last stage of a run is done."""
    seen: list[str] = []
    monkeypatch.setattr(Publisher, "publish", lambda self, pages: seen.extend(p.key for p in pages))
    pipeline = Pipeline.of(queries.configuration(run), run.store.root)
    specs = [request.spec for request in pipeline.walk(run.store, run.load_stages()[-1].stage)]
    teller = storyteller.Storyteller(run)
    teller.go_on(specs, [replace(run.load_stages()[-1], status="cached")])
    assert seen == []  # it can wait
    teller.go_on(specs, [replace(run.load_stages()[-1], status="ran")])
    return seen


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged where there is no flow run."""
    for module in (artifacts, storyteller):
        monkeypatch.setattr(module, "get_run_logger", lambda: logging.getLogger("test"))
    return caplog


def test_a_page_that_cannot_be_made_is_a_warning(
    quick_run: Run, tmp_path: Path, small: RunConfig, monkeypatch: pytest.MonkeyPatch, logged: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(storyteller, "CHAPTERS", {"distill": (lambda run: 1 / 0, distill.page)})
    run = run_stages(small, copied(quick_run, tmp_path).store, tmp_path / "runs" / "early", "distill")
    assert told_by(run, monkeypatch) == ["ssb-5-training"]
    assert "ZeroDivisionError" in logged.text


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/api"


def test_an_api_that_does_not_answer_costs_seconds_and_pages_wait(
    silent: str, monkeypatch: pytest.MonkeyPatch, logged: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(artifacts, "PATIENCE", 0.5)
    publisher, started = Publisher(), time.monotonic()
    with temporary_settings({PREFECT_API_URL: silent}):
        publisher.publish([Page("ssb-a", "", "one"), Page("ssb-b", "", "two")])
    assert "not published in the UI yet: ssb-a, ssb-b" in logged.text
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):  # nobody listens
        publisher.publish([Page("ssb-b", "", "again")])
    assert logged.text.count("ssb-a, ssb-b") == 2 and not publisher.published
    assert time.monotonic() - started < 30  # Prefect's own client would have taken minutes


class Refusing(BaseHTTPRequestHandler):
    """An API that likes no artifact."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(422)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_refused_page_is_let_go(logged: pytest.LogCaptureFixture) -> None:
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{server.server_port}/api"}):
            publisher = Publisher()
            publisher.publish([Page("ssb-a", "", "one"), Page("ssb-b", "", [{"x": "1"}])])
            publisher.publish([])
        server.shutdown()
    assert logged.text.count("the API refused artifact") == 2
