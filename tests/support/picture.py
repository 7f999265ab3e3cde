"""Photograph a run's report for the README: ``python -m tests.support.picture [runs/NAME]``, or ``make picture``.

The picture ends below the report's first chart. It needs Debian's packages chromium and fonts-inter: Inter is as wide
as the fonts that readers have, so tables look as they do on their screens.
"""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "report.png"
LARGEST = 200_000  # bytes
CHROMIUM = "/usr/bin/chromium"
OPTIONS = ["--no-sandbox", "--disable-gpu", "--no-first-run"]  # root may start it, and no GPU is needed
FONT = "body { font-family: Inter, sans-serif !important; }"
SIZE = {"width": 1120, "height": 900}
HOME = "/home/you/ssb"
RENAME = """([from, to]) => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replaceAll(from, to);
}"""
SCALES = (2.0, 1.5, 1.0)  # pixels for each CSS pixel, the sharpest first
COLOURS = 64


def latest(runs: Path) -> Path:
    """The run whose report was written last."""
    reports = sorted(runs.glob("*/report.html"), key=lambda p: p.stat().st_mtime)
    if not reports:
        sys.exit(f"{runs} holds no report; remedy: make demo")
    return reports[-1].parent


def photograph(report: Path, scale: float) -> bytes:
    """The report from its top to the end of its first chart, as a PNG. Its paths are those of nobody's machine."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        page = browser.new_page(viewport=SIZE, device_scale_factor=scale, color_scheme="light")  # type: ignore[arg-type]
        page.goto(report.resolve().as_uri())
        page.add_style_tag(content=FONT)
        page.evaluate(RENAME, [str(report.resolve().parents[2]), HOME])
        chart = page.locator("figure").first.bounding_box()
        assert chart, "the report has no chart"
        clip = {"x": 0, "y": 0, "width": SIZE["width"], "height": chart["y"] + chart["height"] + 16}
        picture = page.screenshot(full_page=True, clip=clip)  # type: ignore[arg-type]
        browser.close()
    return picture


def quantised(picture: bytes) -> bytes:
    """The same picture with few colours: a report has few, and the file is a third as large."""
    written = BytesIO()
    few = Image.open(BytesIO(picture)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(written, "PNG", optimize=True)
    return written.getvalue()


def main() -> None:
    """Write docs/report.png as sharp as its largest size allows."""
    run = Path(sys.argv[1]) if len(sys.argv) > 1 else latest(ROOT / "runs")
    for scale in SCALES:
        picture = quantised(photograph(run / "report.html", scale))
        if len(picture) <= LARGEST:
            break
    PICTURE.write_bytes(picture)
    print(f"{PICTURE.relative_to(ROOT)}: {len(picture):,} bytes, {scale} pixels for each CSS pixel")


if __name__ == "__main__":
    main()
