"""The report and the page of a comparison in a browser: on wide and narrow windows, dark and light, and printed.

Screenshots are kept in tests/ui/out, for a person to look at.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ssb_core import report
from ssb_core.report import compare_html
from ssb_core.report.html import HEAT
from ssb_core.results import compare
from ssb_core.results.compare import Side
from ssb_core.runs import Run
from ssb_core.signal.marks import AnnotatedSolution, Shift, TokenEffect
from ssb_core.store import write_json
from tests.support.browser import SCREENSHOTS
from tests.support.layout import CLIPPED, FAINT, HIDDEN, OPEN_ALL, OUTSIDE, SCROLLING
from tests.support.runs import HOSTILE, copied, mark_all, poison

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PAPER = 703  # CSS pixels: A4 without the margins of the page's style sheet
MODELS = ("sft", "rft", "ssb-no-wrong", "grpo", "ssb-round-2")
NAMES = ("report", "compare")
LONG = f"{HOSTILE} {'x' * 400} " * 3


def widen(summary: dict[str, Any]) -> None:
    """Give a summary all that a report can show: more models, seeds, costs and rounds."""
    (benchmark,) = summary["benchmarks"].values()
    student = benchmark["models"]["ssb"] | {"seeds": [0.5, 0.6, 0.7], "seed_sd": 0.1}
    for model in ("ssb", *MODELS):
        benchmark["models"][model] = copy.deepcopy(student)
        benchmark["paired"][f"{model}-base"] = benchmark["paired"]["ssb-base"] | {"difference": -0.123}
    summary["costs"] = {m: summary["costs"]["ssb"] | {"tokens": 10**i} for i, m in enumerate(MODELS, start=3)}
    summary["rounds"] = [summary["rounds"][0] | {"number": n} for n in (1, 2)]


@pytest.fixture(scope="module")
def pages(quick_run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report with every section and with long texts, and a page of a comparison, by name."""
    run = copied(quick_run, tmp_path_factory.mktemp("pages"))
    shift = Shift("a", 0.25, 0.75)
    effects = [TokenEffect("text\n", nats * 1.1, shift, shift) for nats in (0, *HEAT)]
    mark_all(run, AnnotatedSolution("some-problem", 900, tuple(effects)))
    for stage in ("rollouts", "evaluate"):
        poison(run, stage, LONG)
    summary = run.load_summary()
    widen(summary)
    write_json(run.directory / "summary.json", summary)
    comparison = compare.compare(Side(run, "base"), Side(run, "ssb"))
    compare_html.write(comparison, compare_html.default_path(comparison))
    return dict(zip(NAMES, (report.write(run), compare_html.default_path(comparison)), strict=True))


@contextmanager
def opened(browser: Browser, path: Path, width: int, scheme: str) -> Iterator[Page]:
    """The page at `path` in a window, with all folds open."""
    options: Any = {"viewport": {"width": width, "height": 1000}, "color_scheme": scheme}
    with browser.new_context(**options) as context:
        page = context.new_page()
        page.goto(path.as_uri())
        page.evaluate(OPEN_ALL)
        yield page


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [1200, 500])
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_a_page_fits_its_window_and_is_easy_to_read(
    browser: Browser, pages: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    with opened(browser, pages[name], width, scheme) as page:
        assert page.evaluate(OUTSIDE) == []
        scrolling = page.evaluate(SCROLLING)
        assert [s for s in scrolling if width > 1000 or not s.startswith("DIV.scroll ")] == []
        assert page.evaluate(FAINT) == []
        SCREENSHOTS.mkdir(exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{name}-{width}-{scheme}.png", full_page=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_printed_page_clips_no_table_and_opens_every_fold(
    browser: Browser, pages: dict[str, Path], name: str
) -> None:
    with browser.new_context(viewport={"width": PAPER, "height": 1000}, color_scheme="dark") as context:
        page = context.new_page()
        page.goto(pages[name].as_uri())
        page.emulate_media(media="print")
        page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = false)")
        assert page.evaluate(HIDDEN) == []
        assert page.evaluate(CLIPPED) == []
        assert page.evaluate(OUTSIDE) == page.evaluate(SCROLLING) == []
        assert page.evaluate(FAINT) == []
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        heads = page.locator("thead").evaluate_all("all => all.map(e => getComputedStyle(e).display)")
        assert set(heads) == {"table-header-group"}  # which is repeated on each sheet
        SCREENSHOTS.mkdir(exist_ok=True)
        page.pdf(path=SCREENSHOTS / f"{name}.pdf", format="A4")


def test_a_link_to_a_problem_opens_its_fold(browser: Browser, pages: dict[str, Path]) -> None:
    with browser.new_context(viewport={"width": 1200, "height": 1000}) as context:
        page = context.new_page()
        page.goto(pages["report"].as_uri())
        closed = page.locator("#examples details:not([open]) > div").first
        anchor = closed.get_attribute("id")
        page.goto(f"{pages['report'].as_uri()}#{anchor}")
        assert page.locator(f"details[open] > div[id='{anchor}']").count() == 1
