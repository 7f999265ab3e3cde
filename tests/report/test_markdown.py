"""Markdown that shows text as text."""

from __future__ import annotations

import re

import pytest

from ssb_core.errors import printable
from ssb_core.report import markdown
from tests.support.markdown import HOSTILE, tokens


@pytest.mark.parametrize("text", [HOSTILE, "`", "``a`", "a|b", "<b>", "&amp;", "[x](y)", "\\", "#1", "a_b_c"])
def test_escaped_text_is_shown_unchanged(text: str) -> None:
    expected = printable(" ".join(text.split()))
    for put in (markdown.escaped, markdown.code):
        parsed = tokens(f"It says {put(text)}.")
        assert {t.type for t in parsed} <= {"paragraph_open", "inline", "text", "code_inline", "paragraph_close"}
        assert "".join(t.content for t in parsed if t.type in ("text", "code_inline")) == f"It says {expected}."


def test_columns_are_wrapped_beside_each_other() -> None:
    block = markdown.beside({"left": "a b\nc", "right": "word " * 30 + "x" * 60})
    lines = block.splitlines()
    assert re.match(r"left {20,}right$", lines[1]) and lines[2].startswith("----")
    assert lines[3].startswith("a b") and lines[4].startswith("c ") and "x" * 40 in block
    assert max(map(len, lines)) <= markdown.WIDTH


def test_blocks_and_cells_hold_any_text() -> None:
    assert markdown.block("a\n```\nb") == "````\na\n```\nb\n````"
    assert markdown.table([{"x": "a|b\nc", "y": ""}]) == "| x | y |\n| :--- | ---: |\n| a\\|b c |  |"
    assert markdown.table([{"x": markdown.escaped("a|b\\"), "n": "1"}]).splitlines()[2] == "| a\\|b\\\\ | 1 |"
