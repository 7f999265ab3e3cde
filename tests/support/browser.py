"""A browser that looks at the Prefect UI. Screenshots are kept in tests/ui/out, for a person to look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

SCREENSHOTS = Path(__file__).parents[1] / "ui" / "out"
SIZE = (1440, 1000)
MAX_HEIGHT = 4000
TIMEOUT = 120_000  # milliseconds for a page to show what is expected


@dataclass
class Visitor:
    """A browser's page on the UI, and the errors that it reported."""

    page: Page
    env: dict[str, str]
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(TIMEOUT)
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.on("dialog", lambda d: (self.complaints.append(f"dialog: {d.message}"), d.dismiss()))

    def choose(self, theme: str) -> None:
        """Use the theme ``dark`` or ``light`` from the next page on."""
        self.page.add_init_script(f"localStorage.setItem('color-scheme', '\"{theme}\"')")

    def go(self, path: str) -> None:
        self.page.goto(self.env["PREFECT_API_URL"].removesuffix("/api") + path)

    def screenshot(self, name: str) -> None:
        """Save the page in its full height."""
        SCREENSHOTS.mkdir(exist_ok=True)
        height = self.page.evaluate("Math.max(...[...document.querySelectorAll('*')].map(e => e.scrollHeight))")
        self.page.set_viewport_size({"width": SIZE[0], "height": min(max(height, SIZE[1]), MAX_HEIGHT)})
        self.page.evaluate("new Promise(laidOut => requestAnimationFrame(() => requestAnimationFrame(laidOut)))")
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")
        self.page.set_viewport_size({"width": SIZE[0], "height": SIZE[1]})
