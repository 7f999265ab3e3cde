"""``ssb grade``: verdicts on the user's own completions."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from .errors import clean_errors
from .options import FormName


def grade(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON lines with the fields gold and completion, or - for stdin.")
    ],
    form: Annotated[
        FormName,
        typer.Option(
            help="Form of the answers: in the last \\boxed{}, after the last ####, as a choice letter "
            "A to E, or as the whole text."
        ),
    ] = FormName.boxed,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the verdicts here, when all of them are known.")
    ] = None,
) -> None:
    """Grade completions against gold answers: one JSON line each, and a summary on stderr.

    The gold answer may be bare, or a solution with a box or a #### line. A gold
    answer that cannot be used makes the status "rejected" with the reason, which
    counts as neither right nor wrong. The field id is copied; other fields are
    ignored.

    Example: for a file answers.jsonl with the line

      {"id": 7, "gold": "1/2", "completion": "Half: \\\\boxed{0.5}."}

    the command

      ssb grade answers.jsonl

    prints

      {"id": 7, "status": "correct", "answer": "0.5", "key": "n:1/2", ...}
    """
    with clean_errors("interrupted" + (f"; {out} is not written" if out else "")):
        from ssb_core.evaluation import grading
        from ssb_core.progress import Progress

        from . import console

        total = grading.check(file, form.value, out)
        no_bar = total is None or (out is None and sys.stdout.isatty())  # the total is unknown, or verdicts are printed
        bars = nullcontext(Progress()) if no_bar else console.progress(Progress())
        with grading.output(out) as write, bars as progress:
            tally = grading.run(file, form.value, total, write, progress)
        print(tally, file=sys.stderr)
