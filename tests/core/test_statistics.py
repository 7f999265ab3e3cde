"""Estimators against known values, and intervals against their promise."""

import math
from dataclasses import astuple
from itertools import chain

import numpy as np
import pytest

from ssb_core.statistics import bootstrap_mean, paired, score, wilson


def _score(correct, **others):
    grid = np.asarray(correct)
    no = np.zeros(grid.shape, bool)
    return score(
        "nano-test",
        "base",
        grid,
        **{"no_answer": no, "unverified": no, "truncated": no, "tokens": ~no, "string_match": grid, **others},
    )


def _numbers(record) -> list[float]:
    values = [v for v in astuple(record) if not isinstance(v, str)]
    return list(chain.from_iterable(v if isinstance(v, tuple) else [v] for v in values))


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 30), (4, 30), (188, 500), (500, 500)])
def test_wilson_agrees_with_scipy(successes: int, n: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_covers() -> None:
    from scipy.stats import binom

    n, intervals = 60, [wilson(s, 60) for s in range(61)]
    for p in np.linspace(0.05, 0.95, 19):
        covered = sum(binom.pmf(s, n, p) for s, (low, high) in enumerate(intervals) if low <= p <= high)
        assert 0.91 < covered < 0.99


def test_bootstrap_approaches_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(3, 2, size=2000)
    half = 1.96 * values.std() / math.sqrt(2000)
    assert bootstrap_mean(values) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_clustered_bootstrap_covers_where_pooling_the_samples_would_not() -> None:
    rng, truth = np.random.default_rng(2), 0.4
    covered = pooled = 0
    for _ in range(150):
        ability = rng.beta(0.4, 0.6, size=(80, 1))
        correct = rng.random((80, 4)) < ability
        low, high = _score(correct).ci95
        covered += low <= truth <= high
        low, high = wilson(int(correct.sum()), correct.size)
        pooled += low <= truth <= high
    assert covered > 0.89 * 150 > pooled


def test_score_of_single_samples() -> None:
    correct = np.array([[True], [False], [True], [True]])
    tokens, literally = np.array([[1], [2], [3], [6]]), np.array([[True], [False], [False], [False]])
    got = _score(correct, no_answer=~correct, tokens=tokens, string_match=literally)
    assert (got.benchmark, got.model, got.n, got.samples) == ("nano-test", "base", 4, 1)
    assert (got.accuracy, got.no_answer, got.truncated, got.mean_tokens) == (0.75, 0.25, 0.0, 3.0)
    assert got.string_match == 0.25
    assert got.ci95 == wilson(3, 4)


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
    from scipy.stats import binomtest

    got = paired(*_outcomes(wins, losses, 40))
    expected = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert got.p_value == pytest.approx(expected)
    assert got.difference == pytest.approx((wins - losses) / (wins + losses + 40))


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


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (5, 1), (5, 4)])
@pytest.mark.parametrize("value", [False, True])
def test_degenerate_input_stays_finite(shape: tuple[int, int], value: bool) -> None:
    same = np.full(shape, value)
    assert np.isfinite(_numbers(_score(same))).all()
    for other in (same, ~same):
        assert np.isfinite(_numbers(paired(same, other))).all()
    assert paired(same, same).p_value == 1.0


def test_many_problems_fit_in_memory() -> None:
    low, high = bootstrap_mean(np.arange(2_000) % 2)
    assert 0.47 < low < 0.5 < high < 0.53


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
    with pytest.raises(ValueError, match="values_per_problem must be a non-empty array"):
        bootstrap_mean([])
    for successes, n in [(0, 0), (3, 2), (-1, 2)]:
        with pytest.raises(ValueError, match=f"got {successes} of {n}"):
            wilson(successes, n)


def test_a_difference_that_is_the_same_on_every_problem_still_has_an_interval() -> None:
    none, all_ = np.zeros((20, 1), bool), np.ones((20, 1), bool)
    unseen = wilson(0, 20)[1]
    assert paired(none, none).ci95 == (-unseen, unseen)
    assert paired(all_, none).ci95 == (1 - unseen, 1.0)
    assert paired(none[:1], none[:1]).ci95[1] > 0.5
