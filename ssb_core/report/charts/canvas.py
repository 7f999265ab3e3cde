"""Parts that all charts share: sizes, colours that colour-blind people can tell apart (Okabe and Ito), light axes."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

INK, SOFT, PALE = "#24292f", "#6b7280", "#d9dde3"
BASE, STUDENT = "#8c939d", "#0072b2"
OTHERS = ("#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
INCHES, DPI = 7.4, 150
COLOURS = 128


def colour(model: str, models: Sequence[str]) -> str:
    """Grey for the base, blue for SSB, and the other colours of the palette in order for baselines."""
    others = [m for m in models if m not in ("base", "ssb")]
    return {"base": BASE, "ssb": STUDENT}.get(model) or OTHERS[others.index(model) % len(OTHERS)]


def blank(height: float) -> Figure:
    """An empty figure of the common width; `height` is in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(INCHES, height), dpi=DPI, layout="constrained", facecolor="white")


def axes_of(figure: Figure, title: str, xlabel: str = "", ylabel: str = "") -> Axes:
    """Dressed axes that fill the figure."""
    return dress(figure.subplots(), title, xlabel, ylabel)


def dress(axes: Axes, title: str, xlabel: str = "", ylabel: str = "") -> Axes:
    """Give axes a title at the left, a light grid behind the data, and no box."""
    axes.set_title(title, loc="left", color=INK, fontsize=11, weight="bold")
    axes.set_xlabel(xlabel, color=SOFT)
    axes.set_ylabel(ylabel, color=SOFT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(colors=INK, color=PALE)
    axes.grid(axis="y", color=PALE, linewidth=0.7)
    axes.set_axisbelow(True)
    return axes


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


def png(figure: Figure) -> bytes:
    """The figure as a PNG with an adaptive palette: it looks the same at a quarter of the size, and pages embed it."""
    from PIL import Image

    drawn, out = BytesIO(), BytesIO()
    figure.savefig(drawn, format="png")
    palette = Image.Palette.ADAPTIVE
    Image.open(drawn).convert("P", palette=palette, colors=COLOURS).save(out, format="png", optimize=True)
    return out.getvalue()
