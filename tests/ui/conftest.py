"""A server with its UI, one small run against it, and a browser that looks at its pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.browser import SIZE, Visitor
from tests.support.processes import api, quickstart, run_ssb, serving
from tests.support.settings import SMALL

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-quic --no-first-run "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="module")
def ui(alone: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a user with a running Prefect server that shows its UI."""
    with serving(alone, tmp_path_factory.mktemp("ui")) as env:
        yield env


@pytest.fixture(scope="module")
def folder(ui: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a user has run the small pipeline once."""
    home = tmp_path_factory.mktemp("user")
    done = run_ssb(*quickstart("run", SMALL), env=ui, cwd=home)
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


@pytest.fixture
def visitor(browser: Browser, ui: dict[str, str]) -> Iterator[Visitor]:
    with browser.new_context(viewport={"width": SIZE[0], "height": SIZE[1]}) as context:
        yield Visitor(context.new_page(), ui)


@pytest.fixture(scope="module")
def artifacts(folder: Path, ui: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The run's artifacts by key."""
    return {a["key"]: a for a in api(ui, "/artifacts/filter") if a["key"] and "progress" not in a["key"]}
