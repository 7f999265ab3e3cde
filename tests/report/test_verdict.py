"""The sentences that say whether two models differ."""

from __future__ import annotations

import pytest

from ssb_core.evaluation import statistics
from ssb_core.records import PairedDifference
from ssb_core.report.tables import results_table
from ssb_core.report.verdict import comparison_in_words, verdict_in_words
from ssb_core.results.compare import BenchmarkComparison, Side, SideScore
from ssb_core.runs import Run
from tests.support.summaries import benchmark_summary


@pytest.mark.parametrize(
    ("difference", "ci95", "p", "words"),
    [
        (
            0.1,
            (0.04, 0.16),
            0.01,
            "SSB (40.0%) is better than its base (30.0%): +10.0 points, distinguishable from noise",
        ),
        (-0.1, (-0.16, -0.04), 0.01, "SSB (20.0%) is worse than its base (30.0%): -10.0 points, distinguishable"),
        (0.1, (-0.02, 0.22), 0.1, "cannot be told apart from its base (30.0%): +10.0 points, not distinguishable"),
        (0.1, (0.03, 0.27), 0.125, "cannot be told apart from its base (30.0%): +10.0 points, not distinguishable"),
        (0.0, (0.0, 0.0), 1.0, "cannot be told apart"),
        (0.02, (0.0004, 0.04), 0.2, "(paired 95% interval +0.04 to +4.0, p = 0.200)"),
    ],
)
def test_the_headline_says_whether_it_is_noise(
    difference: float, ci95: tuple[float, float], p: float, words: str
) -> None:
    assert words in verdict_in_words(benchmark_summary(difference, ci95, p))


def test_the_headline_has_the_difference_under_plain_string_match() -> None:
    (line,) = verdict_in_words(benchmark_summary(0.1, (0.04, 0.16), 0.01, (0.09, 0.01))).split("\n")
    assert "p = 0.010); +9.0 points under plain string match. " in line


def test_the_headline_counts_discordant_problems_and_states_the_detectable_effect() -> None:
    verdict = verdict_in_words(benchmark_summary(0.02, (-0.02, 0.06), 0.4))
    assert (
        "SSB did better on 70 and worse on 8 of 500 problems; this benchmark could have shown a difference of 5.1 "
        in verdict
    )


def test_seeds_and_baselines_are_in_the_table_and_in_the_headline() -> None:
    summary = benchmark_summary(0.1, (0.04, 0.16), 0.01)
    benchmark = summary["benchmarks"]["math500"]
    benchmark["models"]["ssb"] |= {"seeds": [0.38, 0.4, 0.42], "seed_sd": 0.02}
    benchmark["models"]["grpo"] = benchmark["models"]["base"]
    benchmark["paired"] |= {"ssb-grpo": benchmark["paired"]["ssb-base"] | {"difference": 0.01, "ci95": [-0.01, 0.03]}}
    verdict = verdict_in_words(summary)
    assert "SSB is the mean of 3 training seeds (38.0%, 40.0%, 42.0%), which the interval includes." in verdict
    assert "Against grpo (30.0%): +1.0 (-1.0 to +3.0), p = 0.010, not distinguishable from noise." in verdict
    assert [row["seeds"] for row in results_table(summary)] == ["", "3 (sd 2.0)", ""]


@pytest.mark.parametrize(
    ("ours", "literal", "words"),
    [
        ((0.02, (-0.02, 0.06), 0.3), (0.3, 0.001), "The 28.0 points between the two are formatting: right answers in"),
        ((0.02, (-0.02, 0.06), 0.3), (0.3, 0.001), "which SSB gives less often than its base."),
        ((0.2, (0.16, 0.24), 0.001), (0.02, 0.3), "The 18.0 points between the two are formatting: right answers in"),
        ((0.2, (0.16, 0.24), 0.001), (0.02, 0.3), "which SSB gives more often than its base."),
        ((0.05, (0.01, 0.09), 0.02), (0.04, 0.08), "noise only where answers are compared by their value."),
        ((0.03, (-0.01, 0.07), 0.2), (0.05, 0.01), "noise only where answers are compared letter for letter."),
    ],
)
def test_a_difference_that_is_partly_formatting_says_so(
    ours: tuple[float, tuple[float, float], float], literal: tuple[float, float], words: str
) -> None:
    verdict = verdict_in_words(benchmark_summary(*ours, literal))
    assert words in verdict and "formatting" in verdict


def test_the_headline_without_a_student_says_so() -> None:
    summary = benchmark_summary(0.1, (0.0, 0.2))
    summary["benchmarks"]["math500"]["paired"] = {}
    assert verdict_in_words(summary).startswith("Only the base was evaluated, on math500")


@pytest.mark.parametrize(("rate_of_base", "noted"), [(0.9, True), (0.06, False), (0.012, False)])
def test_a_difference_that_is_partly_stating_an_answer_says_so(rate_of_base: float, noted: bool) -> None:
    summary = benchmark_summary(0.1, (0.05, 0.15))
    summary["benchmarks"]["math500"]["models"]["base"]["no_answer"] = rate_of_base
    words = "90.0% of the base's samples state no answer in the form asked for, 1.2% of SSB's: part of the difference"
    assert (words in verdict_in_words(summary)) == noted
    assert ("state no answer" in verdict_in_words(summary)) == noted


def test_answers_that_the_verifier_gave_up_on_are_in_the_headline() -> None:
    summary = benchmark_summary(0.1, (0.05, 0.15))
    summary["benchmarks"]["math500"]["models"]["ssb"]["unverified"] = 0.02
    verdict = verdict_in_words(summary)
    assert "The verifier gave up on some answers, which count as not correct: 2.0% of ssb's, 0.0% of base's." in verdict


def difference(difference: float, ci95: tuple[float, float], p_value: float) -> PairedDifference:
    return PairedDifference(
        difference=difference,
        ci95=ci95,
        p_value=p_value,
        wins=8,
        losses=2,
        standard_error=0.03,
        minimum_detectable_effect=0.1,
    )


@pytest.mark.parametrize(
    ("paired", "words"),
    [
        (difference(0.1, (0.04, 0.16), 0.01), "is better than quick:base (30.0%): +10.0 points, distinguishable"),
        (difference(-0.1, (-0.16, -0.04), 0.01), "is worse than quick:base (30.0%): -10.0 points, disting"),
        (difference(0.1, (0.01, 0.2), 0.06), "cannot be told apart from quick:base (30.0%): +10.0 points, not"),
    ],
)
def test_a_comparison_in_words_says_whether_it_is_noise(quick_run: Run, paired: PairedDifference, words: str) -> None:
    first, second = (SideScore(rate, statistics.wilson(100 * rate, 100), 1) for rate in (0.3, 0.3 + paired.difference))
    compared = BenchmarkComparison("math500", 100, 100, first, second, paired, (), (), ())
    assert words in comparison_in_words(compared, Side(quick_run, "base"), Side(quick_run, "ssb"))
