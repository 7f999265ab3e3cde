"""What ``ssb export`` tells: what was written, how large it is, and the line that uses it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import humanize

from ssb_core.export import Exported, Kind

WIDTH = 100
USES: dict[Kind, str] = {
    "adapter": 'PeftModel.from_pretrained(base, "{0}")',
    "merged": 'AutoModelForCausalLM.from_pretrained("{0}"), or `vllm serve {0}`',
    "dataset": 'load_dataset("parquet", data_files="{0}/data/*.parquet")',
}


def told(written: Sequence[Exported], verdict: str) -> str:
    """The exports with sizes and uses, in 100 columns but for longer paths; `verdict` is the results in words."""
    lines = [line for e in written for line in _export(e)]
    if any(e.kind != "dataset" for e in written):
        lines += [_item("results", line) for line in verdict.splitlines()]
    lines.append(_item("next", f"read {written[0].directory / 'README.md'}: numbers, provenance, code that loads it"))
    upload = f"hf upload YOU/NAME {written[0].directory}" + (" --repo-type dataset" if written[0].rows else "")
    lines.append(_item("publish", f"`{upload}`, once a license stands in README.md"))
    return "\n".join(lines)


def _export(e: Exported) -> list[str]:
    rows = f"{e.rows:,} rows, " if e.kind == "dataset" else ""
    files = f"{e.files} files, {humanize.naturalsize(e.bytes, format='%.3g')}"
    return [_item(e.kind, f"{e.directory}: {rows}{files}"), _item("", USES[e.kind].format(e.directory))]


def _item(label: str, text: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=f"{label:<9}",
        subsequent_indent=" " * 9,
        break_long_words=False,
        break_on_hyphens=False,
    )
