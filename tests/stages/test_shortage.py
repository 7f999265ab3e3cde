"""A run that teaches too little says what became of its problems, and which field would help."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ssb_core.config import Decoding, ProblemsConfig, RunConfig
from ssb_core.errors import StoreError
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline
from ssb_core.stages import rollouts, shortage
from ssb_core.stages.shortage import KINDS, Kind, Shortage
from ssb_core.store import Store
from tests.support.runs import run_stages


@pytest.fixture(scope="module")
def spec(small: RunConfig, quick_run: Run) -> rollouts.Spec:
    """The first wave of the small run."""
    return Pipeline.of(small, quick_run.store.root).wave(0, 64).rollouts


def test_a_run_in_which_no_rollout_is_correct_shows_one_and_its_reference_answer(
    small: RunConfig, tmp_path: Path
) -> None:
    (tmp_path / "hard.jsonl").write_text('{"question": "What is 2 + 2?", "answer": "123456789"}\n')
    hard = small.model_copy(update={"problems": ProblemsConfig(source=str(tmp_path / "hard.jsonl"))})
    run = Run(tmp_path / "run", Store(tmp_path / "store"))
    with pytest.raises(StoreError) as refused:
        run_stages(hard, run.store, run.directory)
    first, problems, sampled, wrong, remedy = str(refused.value).split("\n  ")
    assert first == "no trace was taught, so there is nothing to train on: no rollout of most problems is correct"
    assert (problems, sampled) == ("problems: 1 (1 all wrong)", "rollouts: 4 (100.0% wrong)")
    assert wrong.startswith('wrong, problem "hard-00001" (answer "') and ', reference "123456789"): "' in wrong
    assert remedy.startswith("remedy: choose easier problems (problems.source)")
    failure = run.draft.load_failure()
    assert failure and (failure.label, failure.message) == ("distill", str(refused.value))


def test_the_numbers_are_those_of_the_manifests(small: RunConfig, quick_run: Run) -> None:
    waves, counted = [Pipeline.of(small, quick_run.store.root).wave(0, 32)], quick_run.load_summary()["yield"]
    student = Pipeline.of(small, quick_run.store.root).distillation(waves)
    lines = shortage.explain(student, quick_run.store, 3, 9).split("\n  ")
    assert lines[0].startswith("too few traces were taught (3; 9 are held out (distill.held_out)), so there is nothing")
    assert lines[1].startswith(f"problems: {counted['problems']} ({counted['mixed']} mixed, ")
    assert lines[2].startswith("rollouts: 128 (") and f"({counted['taught']} taught" in lines[3]
    dropped = [f"solution dropped as {w}" for w in ("no answer", "truncated", "wrong answer", "leak") if w in lines[3]]
    shown = [line.split(",")[0] for line in lines[4:-1]]
    assert sorted(shown) == sorted([w for w in KINDS.values() if f"% {w}" in lines[2]] + dropped)


def test_a_text_of_a_model_is_shortened_and_cannot_control_a_terminal() -> None:
    shown = shortage._short("\x1b[31mred\u202e\n" + "words " * 100 + "\n\\boxed{1}")
    assert shown.startswith('"\ufffd[31mred\ufffd words') and shown.endswith('words \\boxed{1}"') and " ... " in shown
    assert shown.isprintable() and len(shown) < 170


@pytest.mark.parametrize(
    ("outcomes", "kinds", "solutions", "field"),
    [
        ({"unparsed": 9, "all_wrong": 1}, {"no_answer": 30, "wrong": 10}, {}, "prompts.few_shot"),
        ({"unparsed": 9, "all_wrong": 1}, {"cut": 25, "no_answer": 15}, {}, "rollouts.max_new_tokens (now 160)"),
        ({"all_wrong": 10}, {"unreadable": 30, "wrong": 10}, {}, "prompts.few_shot"),
        ({"all_wrong": 9, "all_correct": 1}, {"wrong": 36, "correct": 4}, {}, "easier problems"),
        ({"all_correct": 9, "mixed": 1}, {"correct": 39, "wrong": 1}, {"leak": 1}, "harder problems"),
        ({"too_long": 10}, {"too_long": 40}, {}, "shorter problems"),
        ({"unverified": 10}, {"unjudged": 40}, {}, "other problems"),
        ({"mixed": 10}, {"correct": 20, "wrong": 20}, {"truncated": 8, "taught": 2}, "teach.max_new_tokens (now 200)"),
        ({"mixed": 10}, {"correct": 20, "wrong": 20}, {"wrong_answer": 9, "taught": 1}, "teach.temperature (now 0.7)"),
        ({"mixed": 10}, {"correct": 20, "wrong": 20}, {"taught": 2}, "problems.limit (now 64), or lower distill.held"),
    ],
)
def test_the_remedy_names_the_field_that_would_help(
    spec: rollouts.Spec, outcomes: dict[str, int], kinds: dict[Kind, int], solutions: dict[str, int], field: str
) -> None:
    found = Shortage(Counter(outcomes), Counter(solutions), Counter(kinds))
    taught = Decoding(temperature=0.7, max_new_tokens=200, seed=0)
    _, remedy = shortage._diagnose(found, spec, taught, 2)
    assert field in remedy
