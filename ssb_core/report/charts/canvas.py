"""Parts that all charts share: sizes, colours that colour-blind people can tell apart (Okabe and Ito), light axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from textwrap import fill, wrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

INK, SOFT, PALE = "#24292f", "#6b7280", "#d9dde3"
BASE, STUDENT = "#8c939d", "#0072b2"
OTHERS = ("#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
INCHES, DPI = 6.6, 160
"""The width of every chart. A text of size 10 stays legible on a page of 500 pixels."""

COLOURS = 128
LINE = 13  # points between two lines of text
LEGEND_COLUMNS = 5
TITLE_WIDTH = 78  # characters


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn chart. `figure` has no title of its own, `alt` says what is drawn, and `rows` are its numbers."""

    title: str
    alt: str
    figure: Figure
    rows: Sequence[dict[str, str]] = ()


def colour(model: str, models: Sequence[str]) -> str:
    """Grey for the base, blue for SSB, and the other colours of the palette in order for baselines."""
    others = [m for m in models if m not in ("base", "ssb")]
    return {"base": BASE, "ssb": STUDENT}.get(model) or OTHERS[others.index(model) % len(OTHERS)]


def blank(height: float) -> Figure:
    """An empty figure of the common width; `height` is in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(INCHES, height), dpi=DPI, layout="constrained", facecolor="white")


def axes_of(figure: Figure, xlabel: str = "", ylabel: str = "") -> Axes:
    """Dressed axes that fill the figure."""
    return dress(figure.subplots(), xlabel=xlabel, ylabel=ylabel)


def dress(axes: Axes, title: str = "", xlabel: str = "", ylabel: str = "") -> Axes:
    """Give axes a title at the left, a light grid behind the data, and no box."""
    axes.set_title(title, loc="left", color=INK, fontsize=10, weight="bold")
    axes.set_xlabel(xlabel, color=SOFT)
    axes.set_ylabel(ylabel, color=SOFT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(colors=INK, color=PALE)
    axes.grid(axis="y", color=PALE, linewidth=0.7)
    axes.set_axisbelow(True)
    return axes


def legend_below(figure: Figure, axes: Axes) -> None:
    """Explain the colours of `axes` in one or several rows below the figure."""
    handles, labels = axes.get_legend_handles_labels()
    columns = min(len(labels), LEGEND_COLUMNS)
    figure.legend(handles, labels, frameon=False, labelcolor=INK, loc="outside lower center", ncols=columns)


def label_below(axes: Axes, at: float, text: str, width: int) -> None:
    """Write `text` below the axis at x = `at`, in lines of at most `width` characters.

    Each line is a text of its own, so it stays centred in whichever font a page shows it.
    """
    for i, line in enumerate(line for part in text.split("\n") for line in wrap(part, width)):
        place: Any = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points"}
        axes.annotate(line, (at, 0), (0, -5 - LINE * i), ha="center", va="top", color=INK, **place)


def curve(axes: Axes, log: Sequence[dict[str, Any]], key: str) -> None:
    """Draw one column of a training log by step, raw and smoothed; rows without the column are skipped."""
    points = [(row["step"], row[key]) for row in log if key in row]
    if points:
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, color=BASE, alpha=0.55, linewidth=1, label="each step")
        axes.plot(steps, smooth(values), color=STUDENT, linewidth=2, label="moving average")
    axes.set_ylim(bottom=0)


def smooth(values: Sequence[float]) -> NDArray[np.float64]:
    """The centred moving average over a tenth of the values. Windows shrink at the ends."""
    import numpy as np

    window = np.ones(len(values) // 20 * 2 + 1)
    total = np.convolve(np.asarray(values, dtype=float), window, "same")
    return np.asarray(total / np.convolve(np.ones(len(values)), window, "same"))


def png(chart: Chart) -> bytes:
    """The chart with its title as a PNG with an adaptive palette: it looks the same at a quarter of the size."""
    from PIL import Image

    title = fill(chart.title, TITLE_WIDTH)
    chart.figure.suptitle(title, x=0.01, ha="left", color=INK, size=11, weight="bold")
    drawn, out = BytesIO(), BytesIO()
    chart.figure.savefig(drawn, format="png")
    palette = Image.Palette.ADAPTIVE
    Image.open(drawn).convert("P", palette=palette, colors=COLOURS).save(out, format="png", optimize=True)
    return out.getvalue()
