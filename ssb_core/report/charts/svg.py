"""A chart as an SVG element within a page, which takes its colours and its font from the page's style sheet.

matplotlib writes a whole document: it has a style for every element of the page, ids that are the same in every chart,
and metadata. What the page gets is made anew from the elements, attributes and properties that are listed here.
"""

from __future__ import annotations

import re
from io import BytesIO
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from .canvas import BASE, INK, OTHERS, PALE, SOFT, STUDENT, Chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VARIABLES = {INK: "ink", SOFT: "soft", PALE: "line", BASE: "base", STUDENT: "student"}
VARIABLES |= {other: f"other-{i}" for i, other in enumerate(OTHERS, start=1)}
"""The variable of the style sheet that replaces each colour."""

ELEMENTS = frozenset("g path text use defs clipPath rect".split())
ATTRIBUTES = frozenset("d x y width height transform clip-path".split())
PROPERTIES = frozenset(
    "fill fill-opacity stroke stroke-width stroke-opacity stroke-dasharray stroke-dashoffset stroke-linejoin "
    "stroke-linecap opacity font-size font-weight text-anchor".split()
)
REFERRED = frozenset(("path", "clipPath"))
"""Elements whose ids others refer to, where they are definitions."""

HREF = "{http://www.w3.org/1999/xlink}href"
LONG = re.compile(r"-?\d+\.\d{3,}")
TURN = re.compile(r"rotate\(-0 [^)]*\)")


def svg(chart: Chart, name: str) -> str:
    """The chart without its title. `name` is the beginning of its ids, so that charts on one page do not share any."""
    root = ElementTree.fromstring(_drawn(chart.figure))
    element = ElementTree.Element("svg", {"viewBox": root.get("viewBox", ""), "role": "img", "aria-label": chart.alt})
    element.extend(_copies(root, f"{name}-", within_defs=False))
    return ElementTree.tostring(element, encoding="unicode")


def _drawn(figure: Figure) -> bytes:
    """The document that matplotlib writes: the same bytes for the same figure, with texts as texts."""
    from matplotlib import rc_context

    drawn = BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "ssb"}):
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    return drawn.getvalue()


def _copies(parent: ElementTree.Element, prefix: str, within_defs: bool) -> list[ElementTree.Element]:
    """The children of `parent` that are drawn or referred to, made anew. Groups that hold nothing are left out."""
    copies = []
    for child in parent:
        tag = _local(child.tag)
        if tag not in ELEMENTS:
            continue
        copy = ElementTree.Element(tag, _attributes(child, tag, prefix, within_defs))
        copy.text = child.text if tag == "text" else None
        copy.extend(_copies(child, prefix, tag == "defs"))
        if tag == "g" and not copy.attrib:
            copies += list(copy)
        elif tag != "defs" or len(copy):
            copies.append(copy)
    return copies


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _attributes(element: ElementTree.Element, tag: str, prefix: str, within_defs: bool) -> dict[str, str]:
    """The attributes of the copy of an element, with short numbers and with ids that begin with `prefix`."""
    kept = {k: _short(v) for k, v in element.attrib.items() if k in ATTRIBUTES}
    kept = {k: v for k, v in kept.items() if v}
    if within_defs and tag in REFERRED:
        kept["id"] = prefix + element.attrib["id"]
    if "clip-path" in kept:
        kept["clip-path"] = kept["clip-path"].replace("#", f"#{prefix}")
    if HREF in element.attrib:
        kept["href"] = element.attrib[HREF].replace("#", f"#{prefix}")
    if style := _style(element.get("style", "")):
        kept["style"] = style
    return kept


def _short(text: str) -> str:
    """Numbers with two digits, on one line, without turns by nothing."""
    return LONG.sub(lambda n: f"{float(n[0]):.2f}", " ".join(TURN.sub("", text).split()))


def _style(text: str) -> str:
    """The listed properties, with variables as colours."""
    pairs = [part.partition(":") for part in text.split(";") if part.strip()]
    kept = {name.strip(): value.strip() for name, _, value in pairs}
    return "; ".join(f"{name}: {_value(value)}" for name, value in kept.items() if name in PROPERTIES)


def _value(value: str) -> str:
    return f"var(--{VARIABLES[value]})" if value in VARIABLES else value
