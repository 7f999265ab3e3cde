"""``ssb chat``: ask the base and the student of a run the same questions."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import environment
from .errors import clean_errors
from .interruption import Interrupted, handling
from .options import RunArgument, RunsOption, StoreOption, open_store

if TYPE_CHECKING:
    from rich.table import Table

    from ssb_core.api.chat import Answer, Chat
    from ssb_core.runs import Run

WIDE = 100  # columns from which both answers stand side by side
PROMPT = "? "


def chat(
    run_name: RunArgument = "latest",
    temperature: Annotated[
        float | None, typer.Option(min=0, metavar="T", help="Sampling temperature; 0: greedy decoding.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=0, metavar="K", help="Sample from the K most probable tokens; 0: from all.")
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="End an answer after N tokens.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, metavar="N", help="Seed of all draws.")] = None,
    few_shot: Annotated[
        bool | None,
        typer.Option("--few-shot/--bare", help="Put the run's worked examples before the question, or never."),
    ] = None,
    store: StoreOption = "store",
    runs: RunsOption = Path("runs"),
) -> None:
    """Ask the base and the student of a run the same questions.

    Both answer as in the run's evaluation: same prompt, temperature and token
    cap, unless an option says otherwise. Type one question on each line, or the
    id of one of the run's problems; its answers are graded. Models do not see
    earlier questions. Ctrl-C ends an answer, Ctrl-D the chat.

    On a terminal of 100 columns or more the answers stand side by side.

    Examples:

      ssb chat latest
      echo "What is 17 + 5?" | ssb chat latest --temperature 0
    """
    with clean_errors("interrupted"):
        environment.set_defaults()
        from ssb_core.api.chat import Chat
        from ssb_core.runs import Run

        run = Run.named(runs, run_name, open_store(store))
        options = {"temperature": temperature, "top_k": top_k, "max_new_tokens": max_new_tokens, "seed": seed}
        opened = Chat.open(run, {name: value for name, value in options.items() if value is not None}, few_shot)
        interactive = sys.stdin.isatty() and sys.stdout.isatty()
        print(_describe(run, opened, interactive), file=sys.stderr)
        if interactive:
            with handling() as signals, signals.leave_ctrl_c():
                _converse(opened)
        else:
            _answer_pipe(opened)


def _describe(run: Run, opened: Chat, interactive: bool) -> str:
    from ssb_core.results import queries
    from ssb_core.results.wording import count, decoding

    engines = {e for e in run.load_summary()["engines"].get("evaluate", ()) if not e.startswith("transformers")}
    sampled = f"; the run sampled with {', '.join(sorted(engines))}" if engines else ""
    examples = (
        f"{count(len(opened.few_shot), 'worked example')} and the question" if opened.few_shot else "the question"
    )
    lines = [
        f"models   {queries.load_config(run).model.source} and its student of run {run.name}, with transformers on "
        f"{opened.sampler.device}{sampled}",
        f"prompt   {examples}; {decoding(opened.decoding.recipe)}",
    ]
    if interactive:
        lines.append("Type a question, or the id of a problem of the run. Ctrl-C ends an answer, Ctrl-D the chat.")
    return "\n".join(lines)


def _answer_pipe(opened: Chat) -> None:
    """Answer every line of standard input."""
    for line in sys.stdin:
        if line.strip():
            _answer(opened, line.strip(), interactive=False)
            print(flush=True)


def _converse(opened: Chat) -> None:
    """Answer what is typed, until Ctrl-D. Ctrl-C discards a line, or ends an answer."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  it gives `input` a history
    while True:
        try:
            if line := input(f"\n{PROMPT}").strip():
                _answer(opened, line, interactive=True)
        except EOFError:
            print()
            return
        except KeyboardInterrupt as e:
            if isinstance(e, Interrupted):
                raise
            print("\nCtrl-D ends the chat.")


def _answer(opened: Chat, line: str, interactive: bool) -> None:
    """Show both answers to a question while they are written, and grade them if they can be graded."""
    from .console import console

    known = opened.find(line)
    question = known.problem.question if known else line
    if not interactive or question != line:
        console.print(f"question  {_safe(question)}", soft_wrap=True)
    answers = opened.ask(question)
    try:
        (_side_by_side if console.is_terminal and console.width >= WIDE else _one_by_one)(answers)
    except KeyboardInterrupt as e:
        if isinstance(e, Interrupted) or not interactive:
            raise
        console.print("\n(ended by Ctrl-C)")
    for note in _notes(opened, question, answers):
        console.print(note, soft_wrap=True)


def _one_by_one(answers: tuple[Answer, ...]) -> None:
    for answer in answers:
        print(f"{answer.model}:", flush=True)
        for piece in answer:
            print(_safe(piece), end="", flush=True)
        print("\n", flush=True)


def _side_by_side(answers: tuple[Answer, ...]) -> None:
    """Both answers in columns. While they are written, each column shows the end of a text that is too long."""
    from rich.live import Live

    from .console import console

    try:
        with Live(console=console, refresh_per_second=12, vertical_overflow="crop", transient=True) as live:
            for _ in itertools.zip_longest(*answers):
                live.update(_columns(answers, console.height - 3))
    finally:  # after Ctrl-C too
        console.print(_columns(answers))


def _columns(answers: tuple[Answer, ...], height: int | None = None) -> Table:
    """The answers beside each other: whole, or their last `height` lines."""
    from rich.table import Table
    from rich.text import Text

    from .console import console

    width = (console.width - 4) // len(answers)
    table = Table(box=None, padding=(0, 4, 0, 0), pad_edge=False)
    cells: list[Any] = []
    for answer in answers:
        table.add_column(answer.model, width=width, overflow="fold", header_style="bold")
        lines = Text(_safe(answer.text)).wrap(console, width)
        cells.append(Text("\n").join(lines[-height:] if height else lines))
    table.add_row(*cells)
    return table


def _notes(opened: Chat, question: str, answers: tuple[Answer, ...]) -> Iterator[str]:
    """Why an answer is not whole, and the verdicts on the answers to a problem of the run."""
    for answer in answers:
        match answer.completion:
            case c if c and c.finish_reason == "length":
                yield f"({answer.model}: cut off after {len(c.completion_ids):,} tokens; --max-new-tokens)"
            case c if c and c.finish_reason == "too_long":
                yield f"({answer.model}: the question is too long for the model's context)"
    if verdicts := opened.verdicts(question, answers):
        reference = opened.known[question.strip()].problem.answer
        graded = (
            f"{answer.model} {verdict.status.replace('_', ' ')}" + (f" ({verdict.answer})" if verdict.answer else "")
            for answer, verdict in zip(answers, verdicts, strict=True)
        )
        yield _safe(f"reference {reference}: {', '.join(graded)}")


def _safe(text: str) -> str:
    """Text of a model or a file, without characters that control a terminal."""
    from ssb_core.report.markdown import printable

    return printable(text)
