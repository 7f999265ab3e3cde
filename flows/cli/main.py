"""The console script ``ssb``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from ssb_core.config.execution import StageName

from ssb_core.api import preflight
from . import prefect
from . import run as launch
from . import store as store_commands
from .errors import clean_errors
from .options import (
    ConfigOption,
    FormName,
    LimitOption,
    NameOption,
    PresetOption,
    RunsOption,
    SetOption,
    StoreOption,
    load,
    open_store,
)

app = typer.Typer(
    name="ssb",
    help="Semantic Soft Bootstrapping: make a language model better at problems with checkable answers, without "
    "reinforcement learning. Start with: ssb run --preset quickstart",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.command()
def run(
    preset: PresetOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    limit: LimitOption = None,
    from_stage: Annotated[
        StageName, typer.Option("--from", help="Take everything before this stage from the store, or refuse.")
    ] = StageName.rollouts,
    to_stage: Annotated[StageName, typer.Option("--to", help="Stop after this stage.")] = StageName.evaluate,
    force: Annotated[
        list[StageName] | None, typer.Option("--force", help="Make this stage again though it is cached. Repeatable.")
    ] = None,
    name: NameOption = None,
    store: StoreOption = "store",
    runs: RunsOption = Path("runs"),
) -> None:
    """Run the pipeline. Interrupt it whenever you like: the same command goes on where it stopped."""
    with clean_errors():
        settings = load(preset, config, overrides, limit)
        part = from_stage.value, to_stage.value, [f.value for f in force or []]
        preflight.refuse_bad_stages(*part)
        origin = preset or (config.stem if config else "custom")
        directory = runs / preflight.run_name(name, origin, settings)
        preflight.refuse_bad_input(settings, open_store(store), runs, from_stage.value)
        _note(preflight.notes(settings, str(directory / "report.html"), to_stage.value))
        launch.tell(launch.start(settings, store, runs, name, origin, *part), directory)


@app.command()
def plan(
    preset: PresetOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    limit: LimitOption = None,
    store: StoreOption = "store",
) -> None:
    """Say what a run would do: what is cached, partly there, missing, or stale and why. Changes nothing."""
    with clean_errors():
        from ssb_core.runs import plan as planning
        from ssb_core.runs.pipeline import Pipeline

        from . import console

        settings = load(preset, config, overrides, limit)
        held = open_store(store)
        rows = planning.plan(Pipeline.of(settings, held.root), held)
        console.console.print(console.plan_table(rows))
        _note(preflight.notes(settings, "the run's report.html"))


@app.command()
def show(
    problem_id: Annotated[str, typer.Argument(help="For example nano-train-0007.")],
    run_name: Annotated[str, typer.Option("--run", "-r", help="Which run; by default the last.")] = "latest",
    store: StoreOption = "store",
    runs: RunsOption = Path("runs"),
) -> None:
    """Tell one problem's whole story: its rollouts, verdicts, pair, taught solution, base and student answers."""
    with clean_errors():
        from ssb_core.results import problem_history
        from ssb_core.runs import Run

        print(problem_history.render(problem_history.tell(Run.named(runs, run_name, open_store(store)), problem_id)))


@app.command()
def report(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="Name of a finished run, or 'latest'.")] = "latest",
    store: StoreOption = "store",
    runs: RunsOption = Path("runs"),
) -> None:
    """Print a finished run's results and write its report.html anew."""
    with clean_errors():
        from ssb_core import report as reports
        from ssb_core.runs import Run

        chosen = Run.named(runs, run_name, open_store(store))
        reports.write(chosen)
        launch.tell(chosen.load_summary(), chosen.directory)


@app.command()
def signal(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="Name of a finished run, or 'latest'.")] = "latest",
    traces: Annotated[int, typer.Option(min=0, help="Taught traces to examine, a seeded draw; 0 means all.")] = 64,
    top: Annotated[int, typer.Option(min=0, help="Tokens to show at which the hint changed most.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print every figure as JSON.")] = False,
    store: StoreOption = "store",
    runs: RunsOption = Path("runs"),
) -> None:
    """Show a run's teacher signal: its size, how exact it is, and what the hint changed. Writes nothing.

    At every token of a taught solution, that is KL(teacher || bare student), in nats.

    The teacher has seen the hint. The bare student is the same model, asked the question alone.

    For example

    ssb signal latest --traces 0 --top 20

    reads every taught trace, and shows the 20 tokens at which the hint changed the teacher's mind most.

    The base model is loaded for this, on the device that the run names; it reads each solution once.
    """
    with clean_errors("interrupted"):
        launch.environment_defaults()
        from ssb_core.runs import Run

        from . import signal as signal_command

        signal_command.run(Run.named(runs, run_name, open_store(store)), traces, top, as_json)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="RUN", help="What to compare with: RUN or RUN:MODEL, or 'latest'.")],
    second: Annotated[str, typer.Argument(metavar="RUN", help="What is compared: RUN or RUN:MODEL, or 'latest'.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Model of both runs, if not named; by default ssb, else base.")
    ] = None,
    top: Annotated[int, typer.Option(min=0, help="Flipped problems of each kind to list; the page has all.")] = 10,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the HTML page goes; by default beside RUN's report.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every figure as JSON; a page is written only with --out.")
    ] = False,
    store: StoreOption = "store",
    runs: RunsOption = Path("runs"),
) -> None:
    """Compare two evaluated models problem by problem: is the difference noise, and which problems flipped.

    Problems are matched by id and content. What else differs between the runs is told. For example

    ssb compare latest:base latest:ssb

    says what training changed, and writes a page with both texts of every problem that flipped.

    A difference above 0 means that the second is better.
    """
    with clean_errors("interrupted; no page is written"):
        from ssb_core.results import compare as comparing

        from . import compare as compare_command

        held = open_store(store)
        sides = [comparing.side(runs, text, model, held) for text in (first, second)]
        compare_command.run(comparing.compare(*sides), top, as_json, out)


@app.command()
def export(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="Name of a finished run, or 'latest'.")] = "latest",
    adapter: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The student as a LoRA adapter for peft and vLLM.")
    ] = None,
    merged: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The student as a whole model: base and adapter in one.")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option(metavar="DIR", help="What it learned from: questions, rollouts, taught solutions.")
    ] = None,
    signal: Annotated[
        bool, typer.Option("--signal", help="Add the teacher's hidden states to the data set. Large.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export in DIR.")] = False,
    store: StoreOption = "store",
    runs: RunsOption = Path("runs"),
) -> None:
    """Write a run's student or data set for use without ssb, with a card that states numbers and provenance.

    For example

    ssb export latest --adapter out/adapter --dataset out/traces

    makes out/adapter for PeftModel.from_pretrained and vLLM, and out/traces for load_dataset and pandas.

    The README.md in each is its card for the Hugging Face hub, with code that loads it.
    """
    with clean_errors("interrupted; no half-written directory is left"):
        from ssb_core import export as exports
        from ssb_core import report as reports
        from ssb_core.runs import Run

        from . import export as export_command

        asked: dict[exports.Kind, Path | None] = {"adapter": adapter, "merged": merged, "dataset": dataset}
        targets = {kind: target for kind, target in asked.items() if target}
        chosen = Run.named(runs, run_name, open_store(store))
        written = exports.export(chosen, targets, signal=signal, overwrite=overwrite)
        print(export_command.told(written, reports.verdict_in_words(chosen.load_summary())))


@app.command()
def grade(
    file: Annotated[Path, typer.Argument(help="JSON lines with the fields gold and completion; - reads stdin.")],
    form: Annotated[
        FormName,
        typer.Option(
            help="How completions hold their answers: in the last \\boxed{}, after the last ####, as a choice letter "
            "A to E, or as the whole text."
        ),
    ] = FormName.boxed,
    out: Annotated[Path | None, typer.Option(help="Write the verdicts here, once all are there.")] = None,
) -> None:
    """Grade completions against gold answers, one JSON line each; what they come to is told on stderr.

    The gold may be the bare answer, or a whole solution with a box or a #### line.

    A gold that cannot be used makes the status rejected, with the reason; it counts as neither right nor wrong.

    An id is copied, all other fields are ignored.

    For example, a file answers.jsonl with the line

    {"id": 7, "gold": "1/2", "completion": "Half of them: \\\\boxed{0.5}."}

    makes `ssb grade answers.jsonl` print

    {"id": 7, "status": "correct", "answer": "0.5", "key": "n:1/2", ...}
    """
    with clean_errors("interrupted" + (f"; {out} is not written" if out else "")):
        from ssb_core.evaluation import grading
        from ssb_core.progress import Progress

        from . import console

        total = grading.check(file, form.value, out)
        hidden = total is None or (out is None and sys.stdout.isatty())  # no total to go by, or verdicts in the way
        bars = nullcontext(Progress()) if hidden else console.progress(Progress())
        with grading.output(out) as write, bars as progress:
            tally = grading.run(file, form.value, total, write, progress)
        print(tally, file=sys.stderr)


@app.command()
def doctor(
    preset: PresetOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    store: StoreOption = "store",
) -> None:
    """Say what stands in the way of a run, and what to do about it. Changes nothing.

    Alone it looks at installation, machine, engine, store and Prefect.

    With --preset or --config it also looks at what that configuration needs: problems, model, memory and disk.

    The exit code is 1 if there is a problem, 0 if there are only warnings or nothing.
    """
    with clean_errors("interrupted"):
        launch.environment_defaults()
        from . import doctor as examination

        given = preset or config or overrides
        well = examination.run(open_store(store), (lambda: load(preset, config, overrides)) if given else None)
        raise typer.Exit(0 if well else 1)


for command in (
    store_commands.status,
    store_commands.verify,
    store_commands.gc,
    prefect.deploy,
    prefect.serve_local,
    prefect.parameters,
):
    app.command()(command)


def main() -> None:
    """Entry point of the console script."""
    app()


def _note(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
