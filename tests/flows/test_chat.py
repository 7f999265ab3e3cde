"""``ssb chat``: both answers in a pipe and on a terminal, interruptions, and text that would control the terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flows.cli import chat as cli
from flows.cli import console
from flows.cli.interruption import Interrupted
from ssb_core.api.chat import Answer, Chat
from ssb_core.config import Decoding, presets
from ssb_core.records import Completion
from ssb_core.runs import Run

HOSTILE = "red \x1b[31m title \x1b]0;x\x07 back \u202e\r"


def answers(*parts: str, error: BaseException | None = None) -> tuple[Answer, Answer]:
    """Two answers of the same parts; the second one is interrupted by `error` after its first part."""

    def stream(error: BaseException | None) -> Iterator[str | Completion]:
        for part in parts:
            yield part
            if error:
                raise error
        yield Completion((1,), "".join(parts), "stop")

    return Answer("base", stream(None)), Answer("student", stream(error))


class Scripted(Chat):
    """A chat whose models say what a test gives."""

    def __init__(self, *parts: str, error: BaseException | None = None) -> None:
        super().__init__(None, Decoding(temperature=0), (), {}, count())  # type: ignore[arg-type]
        self.script: Callable[[], tuple[Answer, Answer]] = lambda: answers(*parts, error=error)

    def ask(self, question: str) -> tuple[Answer, Answer]:
        return self.script()


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is printed to a terminal of 120 columns and 10 lines."""
    output = io.StringIO()
    monkeypatch.setattr(
        console,
        "console",
        Console(width=120, height=10, file=output, force_terminal=True, markup=False, highlight=False),
    )
    return output


def test_a_pipe_gets_both_answers_with_labels_and_verdicts(
    quick_run: Run, ssb_here: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("nano-test-3\n\nWhat is 17 + 5?\n"))
    places = ("--store", str(quick_run.store.root), "--runs", str(quick_run.directory.parent))
    done = ssb_here("chat", "quick", "--max-new-tokens", "200", *places, cwd=tmp_path)
    assert done.returncode == 0 and "\x1b" not in done.stdout
    first, second = done.stdout.split("question  ")[1:]
    assert "\nbase:\n" in first and "\nstudent:\n" in first and first.count("\\boxed{") == 2
    assert "\nreference 23: base " in first and ", student " in first
    assert second.startswith("What is 17 + 5?\nbase:\n") and "reference" not in second
    assert "nano and its student of run quick, with transformers on cpu" in done.stderr
    assert "temperature 0.8, top-k 50, at most 200 tokens, seed 0" in done.stderr


def test_a_run_without_a_student_is_refused(quick_run: Run, ssb_here: Callable[..., Any], tmp_path: Path) -> None:
    done = ssb_here("chat", "none", "--store", str(quick_run.store.root), cwd=tmp_path)
    assert done.returncode == 2 and "there is no finished run 'none'" in done.stderr


def test_text_of_models_cannot_control_the_terminal(wide: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    cli._answer(Scripted(HOSTILE), "?", interactive=True)
    cli._one_by_one(answers(HOSTILE))
    for text in (wide.getvalue(), capsys.readouterr().out):
        assert "title" in text
        assert not any(bad in text for bad in ("\x1b[31m", "\x1b]0;", "\x07", "\u202e", "back \r"))


def test_answers_stand_side_by_side_on_a_wide_terminal(wide: io.StringIO) -> None:
    cli._answer(Scripted(*(f"line {i}\n" for i in range(30))), "?", interactive=True)
    final = wide.getvalue().rsplit("student", 1)[1].splitlines()
    assert [line.split() for line in final[1:31]] == [["line", str(i)] * 2 for i in range(30)]


def test_ctrl_c_ends_an_answer_and_keeps_what_was_written(wide: io.StringIO) -> None:
    cli._answer(Scripted("begun ", "never", error=KeyboardInterrupt()), "?", interactive=True)
    assert wide.getvalue().rstrip().endswith("(ended by Ctrl-C)") and wide.getvalue().count("begun") >= 2
    with pytest.raises(KeyboardInterrupt):
        cli._answer(Scripted("begun", error=KeyboardInterrupt()), "?", interactive=False)
    with pytest.raises(Interrupted):
        cli._answer(Scripted("begun", error=Interrupted()), "?", interactive=True)


def test_ctrl_c_discards_a_line_and_ctrl_d_ends_the_chat(
    wide: io.StringIO, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = iter([KeyboardInterrupt(), "", "a question", EOFError()])

    def typing(prompt: str) -> str:
        line = next(typed)
        if isinstance(line, str):
            return line
        raise line

    monkeypatch.setattr("builtins.input", typing)
    cli._converse(Scripted("an answer"))
    assert "Ctrl-D ends the chat." in capsys.readouterr().out and "an answer" in wide.getvalue()
    assert next(typed, None) is None


def test_problems_of_the_run_are_known_by_id_and_question() -> None:
    from ssb_core.api.chat import known_problems

    gone = "evaluate.benchmarks=[{name: a, source: gone.jsonl}, {name: b, source: nano-test, limit: 5}]"
    known = known_problems(presets.load_config("quickstart", overrides=["problems.limit=5", gone]))
    assert len(known) == 20 and known["nano-test-0003"] == known[known["nano-test-0003"].problem.question]
