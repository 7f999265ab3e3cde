"""Problem histories agree with the shards and the summary."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssb_core import problems
from ssb_core.config import RunConfig
from ssb_core.errors import ConfigError
from ssb_core.report.problem_history import REASONS, render, sections
from ssb_core.results import queries
from ssb_core.results.problem_history import load_examples, load_history
from ssb_core.runs import Run
from ssb_core.store import Store
from tests.support.runs import run_stages


def outcomes(run: Run) -> dict[str, str | None]:
    """The reason for which select dropped each problem of the run, by id."""
    columns = ["problem_id", "dropped"]
    tables = [t for m in run.manifests("select") for t in run.store.tables(m, columns)]
    return {row["problem_id"]: row["dropped"] for table in tables for row in table.to_pylist()}


def test_a_taught_problem_has_its_pair_and_its_verified_solution(quick_run: Run) -> None:
    (history,) = load_examples(quick_run)
    chosen = history.selection
    assert history.problem_set_name == "training problem" and history.rejection is None
    assert [r.index for r in history.rollouts] == [0, 1, 2, 3]
    assert chosen and chosen.correct is not None and chosen.wrong is not None
    assert chosen.verdicts[chosen.correct].status == "correct" != chosen.verdicts[chosen.wrong].status
    assert history.trace and history.trace.verdict.status == "correct"
    assert history.trace.student_prompt_ids == history.rollouts[0].prompt_ids
    printed = render(history)
    for part in (history.problem.question[:40], history.problem.answer, history.trace.text.splitlines()[0]):
        assert part in printed
    assert f"#{chosen.correct} correct" in printed and "shown to the teacher as majority wrong" in printed


def test_a_dropped_problem_has_its_reason(quick_run: Run) -> None:
    problem_id, reason = next((i, d) for i, d in outcomes(quick_run).items() if d in ("all_wrong", "all_correct"))
    history = load_history(quick_run, problem_id)
    assert history.rejection and (history.rejection.stage, history.rejection.reason) == ("select", reason)
    assert history.trace is None
    assert REASONS[str(reason)] in " ".join(render(history).split())


def test_the_histories_of_a_benchmark_add_up_to_its_accuracies(quick_run: Run) -> None:
    (benchmark,) = queries.load_config(quick_run).evaluate.benchmarks
    histories = [load_history(quick_run, p.id) for p in problems.load_problems(benchmark)]
    for model, score in quick_run.load_summary()["benchmarks"]["nano-test"]["models"].items():
        verdicts = [s.verdict.status == "correct" for h in histories for s in dict(h.samples)[f"{model} on nano-test"]]
        assert sum(verdicts) / len(verdicts) == pytest.approx(score["accuracy"])
    assert [c.title for c in sections(histories[0])] == ["base on nano-test", "ssb on nano-test"]


def test_two_benchmarks_over_the_same_problems_are_told_apart(small: RunConfig, quick_run: Run, tmp_path: Path) -> None:
    (benchmark,) = small.evaluate.benchmarks
    both = (benchmark, benchmark.model_copy(update={"name": "again"}))
    twice = small.model_copy(update={"evaluate": small.evaluate.model_copy(update={"benchmarks": both})})
    run = run_stages(twice, quick_run.store, tmp_path / "run")  # every request is there
    history = load_history(run, problems.load_problems(benchmark)[0].id)
    titles = ["base on nano-test", "ssb on nano-test", "base on again", "ssb on again"]
    assert [c.title for c in sections(history)] == titles
    assert [f"{e.model} on {e.benchmark}" for e in queries.load_evaluations(run)] == titles


def test_a_history_reads_one_shard_a_stage_and_no_captured_vectors(
    quick_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem_id = load_examples(quick_run)[0].problem.id
    read: list[list[str]] = []
    table = Store.table

    def spy(self: Store, manifest: object, entry: object, columns: list[str]) -> object:
        read.append(columns)
        return table(self, manifest, entry, columns)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "table", spy)
    load_history(quick_run, problem_id)
    assert len(read) == 3
    assert all("problem_id" in columns and "hidden" not in columns for columns in read)


def test_examples_are_the_first_taught_problems(quick_run: Run) -> None:
    ids = [s.problem.id for s in load_examples(quick_run, 3)]
    mixed = [i for i, dropped in outcomes(quick_run).items() if dropped is None]
    assert len(set(ids)) == 3
    assert ids == [i for i in mixed if i in ids]
    assert all(s.trace and s.trace.dropped is None for s in load_examples(quick_run, 3))


def test_an_unknown_id_is_refused_with_the_nearest_ones(quick_run: Run) -> None:
    with pytest.raises(ConfigError, match=r"no problem 'nano-trian-0012'\n  remedy: .*nano-train-0012"):
        load_history(quick_run, "nano-trian-0012")
    with pytest.raises(ConfigError, match=r"remedy: give one of its ids, like nano-train-\d+, nano-test-\d+"):
        load_history(quick_run, "???")


@pytest.mark.parametrize("given", ["nano-train-7", "nano-train-007", "NANO-TRAIN-0007", "nano-train 7"])
def test_the_number_of_an_id_may_be_shortened(given: str, quick_run: Run) -> None:
    assert load_history(quick_run, given).problem.id == "nano-train-0007"


def test_a_number_that_several_problems_have_is_refused_with_their_ids(quick_run: Run) -> None:
    with pytest.raises(ConfigError, match=r"like nano-train-0007, nano-test-0007$"):
        load_history(quick_run, "7")
    assert load_history(quick_run, "63").problem.id == "nano-train-0063", "the benchmark has 48 problems"
