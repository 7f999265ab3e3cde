"""``ssb export``: write a student or data set, and print its size and how to use it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import clean_errors
from .options import RunArgument, RunsOption, StoreOption, open_store

if TYPE_CHECKING:
    from ssb_core.export import Exported, Kind

WIDTH = 100
USES: dict[Kind, str] = {
    "adapter": 'PeftModel.from_pretrained(base, "{0}")',
    "merged": 'AutoModelForCausalLM.from_pretrained("{0}"), or `vllm serve {0}` on NVIDIA',
    "dataset": 'load_dataset("parquet", data_files="{0}/data/*.parquet")',
}


def export(
    run_name: RunArgument = "latest",
    adapter: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the student as a LoRA adapter for peft and vLLM.")
    ] = None,
    merged: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the student as one whole model, base and adapter.")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write its training data: questions, rollouts, taught solutions.")
    ] = None,
    signal: Annotated[
        bool, typer.Option("--signal", help="Add the teacher's hidden states to the data set. They are large.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export in DIR.")] = False,
    store: StoreOption = "store",
    runs: RunsOption = Path("runs"),
) -> None:
    """Write the student or the data set of a run for use without ssb.

    Each directory gets a README.md: a card for the Hugging Face hub with
    results, provenance and code that loads it.

    Example: an adapter for peft and vLLM, a data set for datasets and pandas.

      ssb export latest --adapter out/adapter --dataset out/traces
    """
    with clean_errors("interrupted; no half-written directory is left"):
        from ssb_core import export as exports
        from ssb_core import report as reports
        from ssb_core.runs import Run

        directories: dict[Kind, Path | None] = {"adapter": adapter, "merged": merged, "dataset": dataset}
        targets = {kind: directory for kind, directory in directories.items() if directory}
        run = Run.named(runs, run_name, open_store(store))
        exported = exports.export(run, targets, signal=signal, overwrite=overwrite)
        print(describe(exported, reports.verdict_in_words(run.load_summary())))


def describe(exported: Sequence[Exported], verdict: str) -> str:
    """The exports with sizes and uses, in 100 columns unless a path is longer. `verdict` is the results in words."""
    lines = [line for e in exported for line in _export_lines(e)]
    if any(e.kind != "dataset" for e in exported):
        lines += [_labelled("results", line) for line in verdict.splitlines()]
    first = exported[0]
    lines.append(_labelled("next", f"read {first.directory / 'README.md'}: results, provenance, code that loads it"))
    upload = f"hf upload YOU/NAME {first.directory}" + (" --repo-type dataset" if first.rows else "")
    lines.append(_labelled("publish", f"`{upload}`, after you have put a license into README.md"))
    return "\n".join(lines)


def _export_lines(e: Exported) -> list[str]:
    from ssb_core.results.wording import count, size

    rows = f"{count(e.rows, 'row')}, " if e.kind == "dataset" else ""
    files = f"{count(e.files, 'file')}, {size(e.bytes)}"
    return [_labelled(e.kind, f"{e.directory}: {rows}{files}"), _labelled("", USES[e.kind].format(e.directory))]


def _labelled(label: str, text: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=f"{label:<9}",
        subsequent_indent=" " * 9,
        break_long_words=False,
        break_on_hyphens=False,
    )
