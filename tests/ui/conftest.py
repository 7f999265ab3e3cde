"""A server with its UI, one small run against it, and a browser that looks at its pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import SMALL
from tests.support.processes import api, quickstart, run_ssb, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-quic --no-first-run "
    "--disable-component-update --disable-sync"
)
COMMAND = quickstart("run", SMALL)
OUT = Path(__file__).parent / "out"
SIZE = (1440, 1000)
TALL = 4000
READY = 120_000  # milliseconds for a page to show what it was asked for


@pytest.fixture(scope="module")
def ui(alone: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a user with a running Prefect server that shows its UI."""
    with serving(alone, tmp_path_factory.mktemp("ui")) as env:
        yield env


@pytest.fixture(scope="module")
def folder(ui: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a user has run the small pipeline once."""
    home = tmp_path_factory.mktemp("user")
    done = run_ssb(*COMMAND, env=ui, cwd=home)
    assert done.returncode == 0, done.stderr
    return home


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is missing; install Debian's package chromium (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=OPTIONS.split())
        yield started
        started.close()


@dataclass
class Visitor:
    """A browser's page on the UI, and what it complained of."""

    page: Page
    env: dict[str, str]
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(READY)
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.on("dialog", lambda d: (self.complaints.append(f"dialog: {d.message}"), d.dismiss()))

    def choose(self, theme: str) -> None:
        """Have pages drawn in the theme ``dark`` or ``light``."""
        self.page.add_init_script(f"localStorage.setItem('color-scheme', '\"{theme}\"')")

    def go(self, path: str) -> None:
        self.page.goto(self.env["PREFECT_API_URL"].removesuffix("/api") + path)

    def picture(self, name: str) -> None:
        """Save what is seen, as tall as it is, for a person to look at."""
        OUT.mkdir(exist_ok=True)
        height = self.page.evaluate("Math.max(...[...document.querySelectorAll('*')].map(e => e.scrollHeight))")
        self.page.set_viewport_size({"width": SIZE[0], "height": min(max(height, SIZE[1]), TALL)})
        self.page.evaluate("new Promise(laidOut => requestAnimationFrame(() => requestAnimationFrame(laidOut)))")
        self.page.screenshot(path=OUT / f"{name}.png")
        self.page.set_viewport_size({"width": SIZE[0], "height": SIZE[1]})


@pytest.fixture
def visitor(browser: Browser, ui: dict[str, str]) -> Iterator[Visitor]:
    with browser.new_context(viewport={"width": SIZE[0], "height": SIZE[1]}) as context:
        yield Visitor(context.new_page(), ui)


@pytest.fixture(scope="module")
def told(folder: Path, ui: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The run's artifacts by key."""
    return {a["key"]: a for a in api(ui, "/artifacts/filter") if a["key"] and "progress" not in a["key"]}
