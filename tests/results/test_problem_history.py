"""Stories: what they tell agrees with the shards and the summary, and what they print is safe to print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest

from ssb_core import problems
from ssb_core.config import RunConfig
from ssb_core.errors import ConfigError
from ssb_core.records import Drop, Problem, Rollout, Selection, TeacherTrace, Verdict, VerdictStatus
from ssb_core.results import problem_history, queries
from ssb_core.runs import Run
from ssb_core.store import Store
from tests.support.runs import run_stages


def outcomes(run: Run) -> dict[str, str | None]:
    """Why each problem of the run was dropped by select, by id."""
    columns = ["problem_id", "dropped"]
    tables = [t for m in run.manifests("select") for t in run.store.tables(m, columns)]
    return {row["problem_id"]: row["dropped"] for table in tables for row in table.to_pylist()}


def graded(
    statuses: Sequence[VerdictStatus], correct: int | None, wrong: int | None, dropped: Drop | None
) -> problem_history.ProblemHistory:
    """A made-up story: rollout i says "text i" and answers i."""
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
    return problem_history.ProblemHistory(
        problem, problem_history.TRAINING, rollouts, Selection("p", verdicts, correct, wrong, dropped)
    )


def test_the_story_of_a_taught_problem_holds_its_pair_and_its_verified_solution(quick_run: Run) -> None:
    (told,) = problem_history.load_examples(quick_run)
    chosen = told.selection
    assert told.origin == "training problem" and told.rejection is None
    assert [r.index for r in told.rollouts] == [0, 1, 2, 3]
    assert chosen and chosen.correct is not None and chosen.wrong is not None
    assert chosen.verdicts[chosen.correct].status == "correct" != chosen.verdicts[chosen.wrong].status
    assert told.trace and told.trace.verdict.status == "correct"
    assert told.trace.student_prompt_ids == told.rollouts[0].prompt_ids
    printed = problem_history.render(told)
    for part in (told.problem.question[:40], told.problem.answer, told.trace.text.splitlines()[0]):
        assert part in printed
    assert f"#{chosen.correct} correct" in printed and "shown to the teacher as majority wrong" in printed


def test_the_story_of_a_dropped_problem_tells_why(quick_run: Run) -> None:
    problem_id, reason = next((i, d) for i, d in outcomes(quick_run).items() if d in ("all_wrong", "all_correct"))
    told = problem_history.load_history(quick_run, problem_id)
    assert told.rejection and (told.rejection.stage, told.rejection.reason) == ("select", reason)
    assert told.trace is None
    assert problem_history.REASONS[str(reason)] in " ".join(problem_history.render(told).split())


def test_a_question_beyond_the_context_is_told_with_its_length() -> None:
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
    told = problem_history.ProblemHistory(Problem("p", "Long?", "0"), problem_history.TRAINING, rollouts, selection)
    assert "Dropped (too_long)" in problem_history.render(told) and "takes 5,000 tokens" in " ".join(
        problem_history.render(told).split()
    )


def test_the_stories_of_a_benchmark_add_up_to_its_accuracies(quick_run: Run) -> None:
    (benchmark,) = queries.load_config(quick_run).evaluate.benchmarks
    told = [problem_history.load_history(quick_run, p.id) for p in problems.load_problems(benchmark)]
    for model, score in quick_run.load_summary()["benchmarks"]["nano-test"]["models"].items():
        verdicts = [s.verdict.status == "correct" for t in told for s in dict(t.samples)[f"{model} on nano-test"]]
        assert sum(verdicts) / len(verdicts) == pytest.approx(score["accuracy"])
    assert [c.title for c in problem_history.sections(told[0])] == ["base on nano-test", "ssb on nano-test"]


def test_two_benchmarks_over_the_same_problems_are_told_apart(small: RunConfig, quick_run: Run, tmp_path: Path) -> None:
    (benchmark,) = small.evaluate.benchmarks
    both = (benchmark, benchmark.model_copy(update={"name": "again"}))
    twice = small.model_copy(update={"evaluate": small.evaluate.model_copy(update={"benchmarks": both})})
    run = run_stages(twice, quick_run.store, tmp_path / "run")  # every request is there
    told = problem_history.load_history(run, problems.load_problems(benchmark)[0].id)
    titles = ["base on nano-test", "ssb on nano-test", "base on again", "ssb on again"]
    assert [c.title for c in problem_history.sections(told)] == titles
    assert [f"{e.model} on {e.benchmark}" for e in queries.load_evaluations(run)] == titles


def test_a_story_reads_one_shard_a_stage_and_never_captured_vectors(
    quick_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem_id = problem_history.load_examples(quick_run)[0].problem.id
    read: list[list[str]] = []
    table = Store.table

    def spy(self: Store, manifest: object, entry: object, columns: list[str]) -> object:
        read.append(columns)
        return table(self, manifest, entry, columns)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "table", spy)
    problem_history.load_history(quick_run, problem_id)
    assert len(read) == 3
    assert all("problem_id" in columns and "hidden" not in columns for columns in read)


def test_examples_are_the_first_taught_problems(quick_run: Run) -> None:
    ids = [s.problem.id for s in problem_history.load_examples(quick_run, 3)]
    mixed = [i for i, dropped in outcomes(quick_run).items() if dropped is None]
    assert len(set(ids)) == 3
    assert ids == [i for i in mixed if i in ids]
    assert all(s.trace and s.trace.dropped is None for s in problem_history.load_examples(quick_run, 3))


def test_an_unknown_id_is_refused_with_the_nearest_ones(quick_run: Run) -> None:
    with pytest.raises(ConfigError, match=r"no problem 'nano-trian-0012'\n  remedy: .*nano-train-0012"):
        problem_history.load_history(quick_run, "nano-trian-0012")
    with pytest.raises(ConfigError, match=r"remedy: give one of its ids, like nano-train-\d+, nano-test-\d+"):
        problem_history.load_history(quick_run, "???")


def test_every_verdict_and_every_reason_has_words() -> None:
    assert set(problem_history.VERDICTS) == set(get_args(VerdictStatus))
    assert set(get_args(Drop)) <= set(problem_history.REASONS)


def test_the_majority_is_counted_by_key() -> None:
    told = graded(["incorrect", "correct", "incorrect", "no_answer"], 1, 2, None)
    assert problem_history.sections(told)[0].outcome == "1 of 4 correct; 1 with the majority wrong answer, 2."
    assert [a.caption for a in problem_history.sections(told)[0].answers][1:3] == [
        "#1 correct, answer 1, 2 tokens, shown to the teacher as correct",
        "#2 wrong, answer 2, 2 tokens, shown to the teacher as majority wrong",
    ]


def test_a_rejected_solution_is_told_with_its_reason() -> None:
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
    told = problem_history.ProblemHistory(pair.problem, pair.origin, pair.rollouts, pair.selection, trace)
    assert told.rejection and told.rejection.stage == "teach"
    chapter = problem_history.sections(told)[1]
    assert (chapter.title, chapter.outcome) == (
        "Rejected solution",
        "Dropped (truncated): the solution hit the token cap.",
    )
    assert chapter.answers[0].caption == "no answer, 3 tokens, cut at the token cap"


def test_a_problem_that_was_not_reached_says_so() -> None:
    told = problem_history.ProblemHistory(Problem("p", "How many?", "3"), problem_history.TRAINING)
    assert problem_history.sections(told) == []
    assert "before it came to this problem" in problem_history.render(told)


def test_rollouts_of_a_run_that_never_judged_them_are_told_as_not_judged() -> None:
    pair = graded(["correct"], None, None, None)
    told = problem_history.ProblemHistory(pair.problem, pair.origin, pair.rollouts)
    assert "#0 not judged, 2 tokens" in problem_history.render(told)


def test_text_is_wrapped_and_cannot_steer_the_terminal() -> None:
    text = "\x1b[2J\x1b]0;owned\x07 hidden \u202e text\r\n\n" + "word " * 60 + "\n\tindented\n" + "x" * 300
    told = graded(["correct"], None, None, "all_correct")
    hostile = problem_history.ProblemHistory(
        Problem("p", text, "1\x1b[31m"),
        problem_history.TRAINING,
        (
            Rollout(
                problem_id="p", index=0, prompt_ids=(1,), completion_ids=(2,), text=text, finish_reason="stop", seed=0
            ),
        ),
        told.selection,
    )
    printed = problem_history.render(hostile)
    assert all(c.isprintable() or c == "\n" for c in printed)
    assert max(map(len, printed.splitlines())) <= 100
    assert printed.count("x") >= 600 and printed.count("word") == 120
