"""``ssb evaluate``: the accuracy of any model or adapter on any benchmarks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import environment
from .errors import clean_errors
from .options import (
    ConfigOption,
    LimitOption,
    PresetOption,
    RunsOption,
    SetOption,
    StoreOption,
    load,
    open_store,
)

if TYPE_CHECKING:
    from ssb_core.runs import Run
    from ssb_core.runs.evaluation import Evaluation

BenchmarksOption = Annotated[
    list[str] | None,
    typer.Option(
        "--benchmarks",
        "-b",
        metavar="NAME|{...}",
        help="Names such as math500,aime2024, or a definition of your own in the words of evaluate.benchmarks. "
        "Repeatable. By default: those of --preset or --config.",
    ),
]


def evaluate(
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="MODEL", help="The model: a hub id, a directory, a .gguf file, or 'nano'."
        ),
    ] = None,
    adapter: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Add a LoRA adapter that was trained on this model.")
    ] = None,
    benchmarks: BenchmarksOption = None,
    preset: PresetOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    limit: LimitOption = None,
    name: Annotated[
        str | None,
        typer.Option("--name", "-n", metavar="NAME", help="Name the result. By default: the model and a digest."),
    ] = None,
    store: StoreOption = "store",
    runs: RunsOption = Path("runs"),
) -> None:
    """Measure the accuracy of any model or adapter on any benchmarks.

    Samples are kept in the store. Those of a run's base or student are used
    again if the settings are the same. The result is a folder in runs, like that
    of a run, so that ssb compare and ssb report can read it.

    A named benchmark is sampled as its preset samples it; with --preset or
    --config, as that configuration does. Other settings: --set evaluate.samples=8.

    Examples:

      ssb evaluate --model nano --benchmarks nano-test --limit 64
      ssb evaluate --model ./my-model --benchmarks math500,aime2024
      ssb evaluate --model nano --adapter out/adapter --preset quickstart
      ssb evaluate -m nano -b '{name: mine, source: mine.jsonl, form: exact}'
    """
    with clean_errors("interrupted; finished samples are kept, and the same command continues from there"):
        environment.set_defaults()
        from ssb_core.api import evaluate as evaluations
        from ssb_core.api import preflight
        from ssb_core.progress import PlainProgress

        from . import console

        opened = open_store(store)
        limited = [*(overrides or ()), *([f"evaluate.limit={limit}"] if limit else [])]
        given = load(preset, config, limited) if preset or config else None
        settings = evaluations.configure(model, _split(benchmarks or []), given, limited, opened.root)
        evaluation = evaluations.prepare(settings, adapter, opened, runs)
        called = preflight.run_name(name or evaluations.evaluation_name(evaluation), "", settings)
        print(_describe(evaluation), file=sys.stderr)
        with console.progress(PlainProgress()) as progress:
            run = evaluations.run_evaluation(evaluation, opened, runs / called, progress)
        print_evaluation(run)


def print_evaluation(run: Run) -> None:
    """Print the results of an evaluation, and what can be done with them."""
    from ssb_core import report as reports
    from ssb_core.runs.run import finished_runs

    from .console import console, results_table

    summary = run.load_summary()
    model = next(iter(m for b in summary["benchmarks"].values() for m in b["models"]))
    console.print(results_table(reports.results_table(summary)))
    console.print(f"samples  {summary['stages']['evaluate']['status']}; {summary['seconds']:.0f} s")
    console.print(f"report   {run.directory / 'report.html'}", soft_wrap=True)
    console.print(f"numbers  {run.directory / 'summary.json'}", soft_wrap=True)
    others = [r.name for r in finished_runs(run.directory.parent, run.store) if r.name != run.name]
    if others:
        console.print(f"compare  ssb compare {others[-1]} {run.name}:{model}", soft_wrap=True)


def _split(benchmarks: list[str]) -> list[str]:
    """Names that are separated by commas as single ones; definitions in braces stay as they are."""
    return [
        part for text in benchmarks for part in ([text] if text.lstrip().startswith("{") else text.split(",")) if part
    ]


def _describe(evaluation: Evaluation) -> str:
    """The model, the adapter and the benchmarks, in a line each."""
    from ssb_core.results.wording import decoding

    lines = [f"model    {evaluation.config.model.source} ({evaluation.model.dtype})"]
    if evaluation.adapter:
        base = evaluation.adapter.base
        known = "; it is a student of a run here, so samples are shared" if evaluation.student else ""
        other = f"; it names {base:.100} as its base" if base and base != evaluation.model.source else ""
        lines.append(f"adapter  {evaluation.adapter.directory}{known}{other}")
    for spec in evaluation.specs():
        problems = f"{len(spec.load_problem_set()):,} problems, {spec.samples} sample{'s' * (spec.samples > 1)} each"
        lines.append(f"on       {spec.benchmark.name}: {problems}, {decoding(spec.decoding.recipe)}")
    return "\n".join(lines)
