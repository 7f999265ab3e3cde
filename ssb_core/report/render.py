"""Pages from Jinja templates, escaped and written as a whole."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..results.wording import decoding, duration, percent, problem_count

PARTS = re.compile(r"(?<=,) | (?=\()")  # the blanks of a cell at which it may begin a new line
TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, content: dict[str, Any]) -> str:
    """A page from its template. The template escapes everything, because the text of models is untrusted."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "problem_count": problem_count, "decoding": decoding}
    environment.filters |= {
        "anchor": anchor,
        "parts": lambda cell: PARTS.split(cell),
        "words": lambda name: name.replace("_", " "),
        "share": lambda x: "" if x is None else f"{percent(x)}%",
        "mean": lambda x: "" if x is None else f"{x:,.1f}",
    }
    return environment.get_template(template).render(content)


def anchor(text: str) -> str:
    """`text` as the id of an element, which has no blanks. A link to it is ``#`` and the id, encoded as in a URL."""
    return "_".join(text.split())
