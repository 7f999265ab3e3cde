"""A problem's history in words: every outcome has words, and the text is safe to print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from ssb_core.records import Drop, Problem, Rollout, Selection, TeacherTrace, Verdict, VerdictStatus
from ssb_core.report.problem_history import REASONS, VERDICTS, render, sections
from ssb_core.results.problem_history import TRAINING, ProblemHistory


def graded(
    statuses: Sequence[VerdictStatus], correct: int | None, wrong: int | None, dropped: Drop | None
) -> ProblemHistory:
    """A made-up history: rollout i has the text "text i" and the answer i."""
    rollouts = tuple(
        Rollout(
            problem_id="p",
            index=i,
            prompt_ids=(1,),
            completion_ids=(2, 3),
            text=f"text {i}",
            finish_reason="stop",
            seed=0,
        )
        for i in range(len(statuses))
    )
    verdicts = tuple(Verdict(s, str(i), f"n:{i}") for i, s in enumerate(statuses))
    problem = Problem("p", "How many?", "0", "algebra")
    return ProblemHistory(problem, TRAINING, rollouts, Selection("p", verdicts, correct, wrong, dropped))


def test_a_question_beyond_the_context_is_dropped_with_its_length() -> None:
    rollouts = tuple(
        Rollout(
            problem_id="p",
            index=i,
            prompt_ids=(1,) * 5000,
            completion_ids=(),
            text="",
            finish_reason="too_long",
            seed=0,
        )
        for i in range(2)
    )
    selection = Selection("p", (), None, None, "too_long")
    history = ProblemHistory(Problem("p", "Long?", "0"), TRAINING, rollouts, selection)
    assert "Dropped (too_long)" in render(history) and "has 5,000 tokens" in " ".join(render(history).split())


def test_every_verdict_and_every_reason_has_words() -> None:
    assert set(VERDICTS) == set(get_args(VerdictStatus))
    assert set(get_args(Drop)) <= set(REASONS)


def test_the_majority_is_counted_by_key() -> None:
    history = graded(["incorrect", "correct", "incorrect", "no_answer"], 1, 2, None)
    assert sections(history)[0].outcome == "1 of 4 correct; 1 with the majority wrong answer, 2."
    assert [a.caption for a in sections(history)[0].completions][1:3] == [
        "#1 correct, answer 1, 2 tokens, shown to the teacher as correct",
        "#2 wrong, answer 2, 2 tokens, shown to the teacher as majority wrong",
    ]


def test_a_rejected_solution_has_its_reason() -> None:
    pair = graded(["correct", "incorrect"], 0, 1, None)
    trace = TeacherTrace(
        problem_id="p",
        student_prompt_ids=(1,),
        teacher_prompt_ids=(1, 2),
        completion_ids=(3, 4, 5),
        text="so far",
        finish_reason="length",
        seed=0,
        verdict=Verdict("no_answer"),
        dropped="truncated",
    )
    history = ProblemHistory(pair.problem, pair.problem_set_name, pair.rollouts, pair.selection, trace)
    assert history.rejection and history.rejection.stage == "teach"
    section = sections(history)[1]
    assert (section.title, section.outcome) == (
        "Rejected solution",
        "Dropped (truncated): the solution hit the token cap.",
    )
    assert section.completions[0].caption == "no answer, 3 tokens, cut at the token cap"


def test_a_problem_that_was_not_reached_says_so() -> None:
    history = ProblemHistory(Problem("p", "How many?", "3"), TRAINING)
    assert sections(history) == []
    assert "before it reached this problem" in render(history)


def test_rollouts_that_were_never_judged_say_so() -> None:
    pair = graded(["correct"], None, None, None)
    history = ProblemHistory(pair.problem, pair.problem_set_name, pair.rollouts)
    assert "#0 not judged, 2 tokens" in render(history)


def test_text_is_wrapped_and_cannot_control_the_terminal() -> None:
    text = "\x1b[2J\x1b]0;owned\x07 hidden \u202e text\r\n\n" + "word " * 60 + "\n\tindented\n" + "x" * 300
    history = graded(["correct"], None, None, "all_correct")
    hostile = ProblemHistory(
        Problem("p", text, "1\x1b[31m"),
        TRAINING,
        (
            Rollout(
                problem_id="p", index=0, prompt_ids=(1,), completion_ids=(2,), text=text, finish_reason="stop", seed=0
            ),
        ),
        history.selection,
    )
    printed = render(hostile)
    assert all(c.isprintable() or c == "\n" for c in printed)
    assert max(map(len, printed.splitlines())) <= 100
    assert printed.count("x") >= 600 and printed.count("word") == 120
