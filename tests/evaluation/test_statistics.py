"""Estimators and tests against known values, scipy and statsmodels; `test_coverage` has what intervals promise."""

import itertools
import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ssb_core.evaluation.intervals import estimate
from ssb_core.evaluation.statistics import (
    accuracy,
    by_label,
    maj_at_k,
    paired,
    pass_at_k,
    score,
    vote_calibration,
    wilson,
)
from ssb_core.records import NO_VOTE


def _score(correct, **others):
    grid = np.asarray(correct)
    no = np.zeros(grid.shape, bool)
    return score(
        "nano-test",
        "base",
        grid,
        **{
            **{"no_answer": no, "unverified": no, "timeouts": no, "truncated": no, "tokens": ~no},
            **{"string_match": grid, "votes": grid, **others},
        },
    )


def _numbers(value: Any) -> list[float]:
    """Every number in nested mappings and sequences."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [n for v in value for n in _numbers(v)]
    return [] if isinstance(value, str) else [value]


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 30), (4, 30), (188, 500), (500, 500)])
def test_wilson_agrees_with_scipy(successes: int, n: int) -> None:
    expected = stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_covers() -> None:
    n, intervals = 60, [wilson(s, 60) for s in range(61)]
    for p in np.linspace(0.05, 0.95, 19):
        covered = sum(stats.binom.pmf(s, n, p) for s, (low, high) in enumerate(intervals) if low <= p <= high)
        assert 0.91 < covered < 0.99


def test_score_of_single_samples() -> None:
    correct = np.array([[True], [False], [True], [True]])
    tokens, literally = np.array([[1], [2], [3], [6]]), np.array([[True], [False], [False], [False]])
    got = _score(correct, no_answer=~correct, tokens=tokens, string_match=literally)
    assert (got.benchmark, got.model, got.n, got.samples) == ("nano-test", "base", 4, 1)
    assert (got.accuracy, got.no_answer, got.truncated, got.mean_tokens) == (0.75, 0.25, 0.0, 3.0)
    assert got.string_match == 0.25
    assert got.ci95 == wilson(3, 4)
    assert got.pass_at_k == {"1": 0.75} and got.seeds == (0.75,) and got.seed_sd == 0.0
    assert got.p95_tokens == pytest.approx(np.percentile([1, 2, 3, 6], 95))


@pytest.mark.parametrize(("samples", "named"), [(2, "1 2"), (4, "1 2 4"), (6, "1 2 4 6")])
def test_pass_at_k_is_told_for_powers_of_two_and_all_samples(samples: int, named: str) -> None:
    assert list(_score(np.eye(samples)).pass_at_k) == named.split()


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_pass_at_k_is_the_mean_over_every_choice_of_k_samples(k: int) -> None:
    correct = np.random.default_rng(0).random((7, 5)) < 0.3
    choices = [correct[:, list(some)].any(axis=1).mean() for some in itertools.combinations(range(5), k)]
    assert pass_at_k(correct, k) == pytest.approx(np.mean(choices))


@pytest.mark.parametrize("k", [0, 5])
def test_pass_at_k_refuses_k_beyond_the_samples_drawn(k: int) -> None:
    with pytest.raises(ValueError, match=f"pass@{k} needs at least .* there are 4"):
        pass_at_k(np.ones((3, 4)), k)


@pytest.mark.parametrize(
    ("votes", "correct", "worth"),
    [
        ([1, 1, 2, 3], [1, 1, 0, 0], 1.0),
        ([1, 2, 2, 3], [1, 0, 0, 0], 0.0),
        ([1, 1, 2, 2], [1, 1, 0, 0], 1 / 2),
        ([2, 1, 3, NO_VOTE], [0, 1, 0, 0], 1 / 3),
        ([1, NO_VOTE, NO_VOTE, NO_VOTE], [1, 0, 0, 0], 1.0),
        ([NO_VOTE] * 4, [0, 0, 0, 0], 0.0),
    ],
)
def test_majority_ties_are_worth_their_expectation_and_no_answer_has_no_vote(
    votes: list[int], correct: list[int], worth: float
) -> None:
    assert maj_at_k([correct], [votes]) == pytest.approx(worth)
    assert maj_at_k([[correct], [[1] * 4]], [[votes], [[0] * 4]]) == pytest.approx((worth + 1) / 2)


def test_the_standard_error_is_clustered_as_statsmodels_has_it() -> None:
    import statsmodels.api as sm

    correct = np.random.default_rng(3).random((50, 4)) < np.linspace(0, 1, 50)[:, None]
    groups = np.repeat(np.arange(50), 4)
    fitted = sm.OLS(correct.ravel().astype(float), np.ones(200)).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}
    )
    expected = fitted.bse[0] * math.sqrt(50 / 49)  # ours divides by n - 1
    assert _score(correct).standard_error == pytest.approx(expected)


@pytest.mark.parametrize(("n", "samples"), [(64, 1), (100, 4)])
def test_the_paired_interval_is_the_t_tests_and_near_the_bootstraps(n: int, samples: int) -> None:
    rng = np.random.default_rng(4)
    a, b = rng.random((n, samples)) < 0.6, rng.random((n, samples)) < 0.5
    d, got = a.mean(1) - b.mean(1), paired(a, b)
    assert got.ci95 == pytest.approx(stats.ttest_1samp(d, 0).confidence_interval(0.95))
    resampled = stats.bootstrap((d,), np.mean, n_resamples=4000, rng=rng).confidence_interval
    assert got.ci95 == pytest.approx(resampled, abs=0.15 * np.ptp(got.ci95))


@pytest.mark.parametrize("n", [30, 100, 500])
def test_the_minimum_detectable_effect_has_the_power_that_statsmodels_gives(n: int) -> None:
    from statsmodels.stats.power import TTestPower

    rng = np.random.default_rng(5)
    a, b = rng.random((n, 4)) < 0.6, rng.random((n, 4)) < 0.5
    d = a.mean(1) - b.mean(1)
    effect = paired(a, b).minimum_detectable_effect / d.std(ddof=1)
    assert TTestPower().power(effect, n, 0.05) == pytest.approx(0.8, abs=0.01)


def test_with_equal_models_the_detectable_effect_is_about_what_mcnemar_needs() -> None:
    same = np.ones((500, 1))
    assert paired(same, same).minimum_detectable_effect == pytest.approx(6 / 500, rel=0.1)  # 6 to 0: p = 0.03
    assert paired(same[:1], same[:1]).minimum_detectable_effect == 1.0


def test_few_discordant_problems_do_not_make_a_benchmark_sharper() -> None:
    effects = [paired(*_outcomes(wins, 0, 32 - wins)).minimum_detectable_effect for wins in (0, 1, 2, 8)]
    assert effects[0] == effects[1] == effects[2] < effects[3]


def test_the_variance_over_seeds_is_that_of_the_random_effects_model() -> None:
    rng = np.random.default_rng(6)
    rates = rng.normal(size=(4, 1)) + rng.normal(size=(1, 30)) + rng.normal(size=(4, 30))
    seeds, problems = np.indices(rates.shape)
    import pandas as pd
    import statsmodels.formula.api as smf
    from statsmodels.stats.anova import anova_lm

    table = pd.DataFrame({"y": rates.ravel(), "s": seeds.ravel(), "p": problems.ravel()})
    squares = anova_lm(smf.ols("y ~ C(s) + C(p)", table).fit())["mean_sq"]
    expected = (squares["C(s)"] + squares["C(p)"] - squares["Residual"]) / rates.size
    assert squares["C(s)"] > squares["Residual"]
    got = estimate(rates.mean(axis=0), [rates])
    assert got.standard_error**2 == pytest.approx(expected)
    assert [df for _, df in got.components] == [29, 3]


def test_the_p_value_over_seeds_agrees_with_the_interval() -> None:
    rng = np.random.default_rng(10)
    for gain in np.linspace(0, 0.3, 40):
        got = paired(rng.random((3, 64, 2)) < 0.4 + gain, rng.random((64, 2)) < 0.4)
        assert (got.p_value < 0.05) == (not got.ci95[0] <= 0 <= got.ci95[1])
    one = rng.normal(size=30)
    assert estimate(one, []).p_value == pytest.approx(stats.ttest_1samp(one, 0).pvalue)
    assert estimate(one + 1e9, []).p_value == pytest.approx(1e-12)


def test_several_seeds_have_a_mean_a_spread_and_a_wider_interval_than_one() -> None:
    rng = np.random.default_rng(7)
    correct = rng.random((3, 80, 2)) < np.array([0.3, 0.5, 0.7])[:, None, None]
    got = _score(correct)
    assert (got.n, got.samples) == (80, 2)
    assert got.seeds == pytest.approx(correct.mean((1, 2))) and got.accuracy == pytest.approx(correct.mean())
    assert got.seed_sd == pytest.approx(np.std(got.seeds, ddof=1))
    assert np.ptp(got.ci95) > 2 * max(np.ptp(_score(one).ci95) for one in correct)
    base = rng.random((80, 2)) < 0.3
    difference = paired(correct, base)
    assert difference.difference == pytest.approx(correct.mean() - base.mean())
    assert difference.ci95[0] < 0 < max(paired(one, base).ci95[0] for one in correct)


def test_one_seed_is_what_no_seed_axis_is() -> None:
    rng = np.random.default_rng(8)
    a, b = rng.random((40, 4)) < 0.5, rng.random((40, 4)) < 0.4
    assert _score(a[None]) == _score(a) and paired(a[None], b[None]) == paired(a, b)
    assert paired(a[None, :, :1], b[:, :1]) == paired(a[:, :1], b[:, :1])


def test_accuracy_by_label_is_that_of_the_problems_with_it() -> None:
    correct, labels = np.random.default_rng(9).random((3, 6, 4)) < 0.5, ["10", "2", "", "2", "10", "2"]
    got = by_label(correct, labels)
    assert list(got) == ["2", "10"] and [g["n"] for g in got.values()] == [3, 2]
    of, ci95 = accuracy(correct[:, [1, 3, 5]])
    assert (got["2"]["accuracy"], got["2"]["ci95"]) == (of.mean, ci95)
    assert by_label(correct, [""] * 6) == {}
    with pytest.raises(ValueError, match="2 labels for 6 problems"):
        by_label(correct, ["1", "2"])


def test_score_averages_samples_and_is_repeatable() -> None:
    correct = np.random.default_rng(3).random((50, 4)) < 0.3
    got = _score(correct)
    assert got.accuracy == pytest.approx(correct.mean())
    assert got.ci95[0] < got.accuracy < got.ci95[1]
    assert got == _score(correct)


def test_uniform_problems_fall_back_to_wilson() -> None:
    assert _score(np.zeros((30, 4), bool)).ci95 == wilson(0, 30)
    assert _score([[True, False]]).ci95 == wilson(0.5, 1)


def _outcomes(wins: int, losses: int, ties: int) -> tuple[np.ndarray, np.ndarray]:
    a = np.repeat([True, False, True], [wins, losses, ties])[:, None]
    b = np.repeat([False, True, True], [wins, losses, ties])[:, None]
    return a, b


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (5, 5), (9, 2), (0, 12), (300, 200)])
def test_mcnemar_agrees_with_scipy(wins: int, losses: int) -> None:
    got = paired(*_outcomes(wins, losses, 40))
    expected = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert got.p_value == pytest.approx(expected)
    assert got.difference == pytest.approx((wins - losses) / (wins + losses + 40))
    assert (got.wins, got.losses) == (wins, losses)


def test_sign_flip_agrees_with_the_exact_distribution() -> None:
    a = np.array([[1, 1], [1, 1], [1, 0], [1, 1], [0, 1], [0, 0]], bool)
    b = np.array([[0, 0], [1, 0], [0, 0], [0, 1], [0, 0], [1, 0]], bool)
    d = a.mean(1) - b.mean(1)
    signs = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1)
    exact = np.mean(np.abs(d @ signs) >= abs(d.sum()))
    assert paired(a, b).p_value == pytest.approx(exact, abs=0.02)


def test_paired_is_antisymmetric_and_sees_a_real_gain() -> None:
    rng = np.random.default_rng(4)
    ability = rng.random((300, 1)) * 0.7
    base, student = rng.random((300, 4)) < ability, rng.random((300, 2)) < ability + 0.2
    gain, loss = paired(student, base), paired(base, student)
    assert 0.1 < gain.ci95[0] < gain.difference < gain.ci95[1] < 0.3
    assert gain.p_value == loss.p_value == pytest.approx(1 / 10_001)
    assert loss.difference == -gain.difference


def test_sign_flip_p_values_are_uniform_without_a_difference() -> None:
    rng = np.random.default_rng(5)
    ability = rng.random((40, 1))
    p = [paired(rng.random((40, 2)) < ability, rng.random((40, 2)) < ability).p_value for _ in range(150)]
    assert np.mean(np.array(p) < 0.05) < 0.1
    assert 0.4 < np.mean(p) < 0.62


def test_more_samples_on_one_side_do_not_make_equal_rates_differ() -> None:
    a, b = np.tile([True, False, False], (10, 2)), np.tile([True, False, False], (10, 1))
    a[0, 0], b[0, 0] = False, False
    got = paired(a, b)
    assert (got.wins, got.losses) == (1, 0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (5, 1), (5, 4), (3, 1, 1), (3, 1, 4), (3, 5, 1)])
@pytest.mark.parametrize("value", [False, True])
def test_degenerate_input_stays_finite(shape: tuple[int, ...], value: bool) -> None:
    same = np.full(shape, value)
    assert np.isfinite(_numbers(asdict(_score(same)))).all()
    for other in (same, ~same):
        assert np.isfinite(_numbers(asdict(paired(same, other)))).all()
    assert paired(same, same).p_value == 1.0
    mixed = same.copy()
    mixed[0] = ~mixed[0]
    assert np.isfinite(
        _numbers([asdict(_score(mixed)), asdict(paired(mixed, same)), asdict(paired(mixed, ~same))])
    ).all()


def test_bad_input_is_named() -> None:
    ok = np.ones((3, 2), bool)
    with pytest.raises(ValueError, match="correct must be a non-empty array"):
        _score(np.zeros((0, 4)))
    with pytest.raises(ValueError, match=r"tokens has shape \(3, 1\), correct has \(3, 2\)"):
        _score(ok, tokens=np.ones((3, 1)))
    with pytest.raises(ValueError, match="tokens holds NaN"):
        _score(ok, tokens=np.full((3, 2), np.nan))
    with pytest.raises(ValueError, match="correct_a has 3 problems, correct_b has 2"):
        paired(ok, ok[:2])
    with pytest.raises(ValueError, match=r"correct_b .* got shape \(3,\)"):
        paired(ok, ok[:, 0])
    with pytest.raises(ValueError, match=r"votes has shape \(3, 1\), correct has \(3, 2\)"):
        maj_at_k(ok, ok[:, :1])
    for successes, n in [(0, 0), (3, 2), (-1, 2)]:
        with pytest.raises(ValueError, match=f"got {successes} of {n}"):
            wilson(successes, n)


def test_a_difference_that_is_the_same_on_every_problem_still_has_an_interval() -> None:
    none, all_ = np.zeros((20, 1), bool), np.ones((20, 1), bool)
    unseen = wilson(0, 20)[1]
    assert paired(none, none).ci95 == (-unseen, unseen)
    assert paired(all_, none).ci95 == (1 - unseen, 1.0)
    assert paired(none[:1], none[:1]).ci95[1] > 0.5


def test_votes_are_counted_by_how_many_agree_with_ties_at_their_expectation() -> None:
    votes = [[0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 2, NO_VOTE], [NO_VOTE] * 4, [5, 5, 5, NO_VOTE]]
    correct = [[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0] * 4, [0, 0, 0, 0]]
    assert vote_calibration(correct, votes) == [
        {"agree": 1, "n": 1, "accuracy": pytest.approx(1 / 3)},
        {"agree": 2, "n": 1, "accuracy": 0.5},
        {"agree": 3, "n": 2, "accuracy": 0.5},
    ]
    assert vote_calibration([correct, correct], [votes, votes])[2] == {"agree": 3, "n": 4, "accuracy": 0.5}
