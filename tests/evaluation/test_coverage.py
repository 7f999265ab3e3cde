"""What intervals and tests promise, by simulation: 95% intervals cover 93-97%, and equals are rarely told apart.

Abilities and gains are on the logit scale, as in item response theory; expectations are by Gauss-Hermite quadrature.
"""

from dataclasses import asdict

import numpy as np
import pytest
from numpy.typing import NDArray

from ssb_core.evaluation import statistics
from ssb_core.evaluation.statistics import accuracy, paired
from ssb_core.results import wording

EVALUATIONS = 2000
SPREAD, SHIFT = 2.0, 0.7  # standard deviations over problems: of ability, and of what a training does to one


def _chance(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-logit))


def _expected(mean: float, sd: float) -> float:
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    return float(weights @ _chance(mean + sd * nodes) / weights.sum())


def _covered(intervals: list[tuple[float, float]], truth: float) -> float:
    low, high = np.array(intervals).T
    return float(np.mean((low <= truth) & (truth <= high)))


def _trained(
    rng: np.random.Generator, ability: NDArray[np.float64], gain: float, over_seeds: float, seeds: int, samples: int
) -> NDArray[np.bool_]:
    """Graded samples (seeds, problems, samples) of students of the base with these abilities (problems,)."""
    shift = rng.normal(gain, over_seeds, (seeds, 1)) + rng.normal(0, SHIFT, (seeds, len(ability)))
    return rng.random((seeds, len(ability), samples)) < _chance(ability + shift)[..., None]


@pytest.fixture
def without_p_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """The permutation test, which intervals have no part in, takes nearly all of the time."""
    monkeypatch.setattr(statistics, "RESAMPLES", 1)


@pytest.mark.parametrize(("n", "samples"), [(64, 4), (100, 4), (500, 1), (500, 4)])
@pytest.mark.parametrize("mean", [-4.0, -0.5, 3.0])  # accuracies of 7%, 43% and 87%
def test_intervals_of_accuracy_cover_also_where_samples_are_clustered(n: int, samples: int, mean: float) -> None:
    rng = np.random.default_rng(n + samples)
    abilities = rng.normal(mean, SPREAD, (EVALUATIONS, n, 1))
    intervals = [accuracy(rng.random((n, samples)) < _chance(a))[1] for a in abilities]
    assert 0.93 <= _covered(intervals, _expected(mean, SPREAD)) <= 0.97


def test_pooling_the_samples_of_clusters_would_not_cover() -> None:
    rng = np.random.default_rng(2)
    abilities = rng.normal(-0.5, SPREAD, (EVALUATIONS, 64, 1))
    pooled = [accuracy((rng.random((64, 4)) < _chance(a)).reshape(-1, 1))[1] for a in abilities]
    assert _covered(pooled, _expected(-0.5, SPREAD)) < 0.85


@pytest.mark.usefixtures("without_p_values")
@pytest.mark.parametrize(("n", "samples"), [(64, 4), (100, 1), (500, 1)])
def test_paired_intervals_cover(n: int, samples: int) -> None:
    rng = np.random.default_rng(n + samples)
    intervals = []
    for ability in rng.normal(-0.5, SPREAD, (EVALUATIONS, n)):
        base = rng.random((n, samples)) < _chance(ability)[:, None]
        intervals.append(paired(_trained(rng, ability, 0.5, 0.0, 1, samples), base).ci95)
    truth = _expected(0.0, np.hypot(SPREAD, SHIFT)) - _expected(-0.5, SPREAD)
    assert 0.93 <= _covered(intervals, truth) <= 0.97


@pytest.mark.usefixtures("without_p_values")
@pytest.mark.parametrize(("n", "samples"), [(64, 4), pytest.param(500, 1, marks=pytest.mark.soak)])
@pytest.mark.parametrize(
    ("seeds", "over_seeds"), [(3, 0.0), (3, 0.3), (3, 0.6), (5, 0.3)]
)  # up to 8 points of accuracy
def test_intervals_over_training_seeds_cover(seeds: int, over_seeds: float, n: int, samples: int) -> None:
    rng = np.random.default_rng(seeds * n)
    of_model, of_gain = [], []
    for ability in rng.normal(-0.5, SPREAD, (2 * EVALUATIONS, n)):  # near 96%, so the count's own error must be small
        base = rng.random((n, samples)) < _chance(ability)[:, None]
        student = _trained(rng, ability, 0.5, over_seeds, seeds, samples)
        of_model.append(accuracy(student)[1])
        of_gain.append(paired(student, base).ci95)
    truth = _expected(0.0, float(np.linalg.norm([SPREAD, SHIFT, over_seeds])))
    assert 0.93 <= _covered(of_model, truth) <= 0.97
    assert 0.93 <= _covered(of_gain, truth - _expected(-0.5, SPREAD)) <= 0.97


def test_an_interval_that_leaves_out_the_seeds_would_not_cover() -> None:
    rng, intervals = np.random.default_rng(1), []
    for ability in rng.normal(-0.5, SPREAD, (EVALUATIONS, 64)):
        student = _trained(rng, ability, 0.0, 0.4, 3, 4)
        intervals.append(accuracy(student.transpose(1, 0, 2).reshape(64, -1))[1])  # seeds taken for samples
    assert _covered(intervals, _expected(-0.5, float(np.linalg.norm([SPREAD, SHIFT, 0.4])))) < 0.92


@pytest.mark.parametrize(("seeds", "n", "samples"), [(1, 64, 4), (1, 500, 1), (1, 30, 1), (3, 64, 4), (5, 100, 1)])
def test_a_student_identical_to_the_base_is_rarely_told_apart(seeds: int, n: int, samples: int) -> None:
    rng, noise = np.random.default_rng(seeds * n), 0
    for ability in rng.normal(-0.5, SPREAD, (500, n)):
        chance = _chance(ability)[:, None]
        noise += not wording.significant(
            asdict(paired(rng.random((seeds, n, samples)) < chance, rng.random((n, samples)) < chance))
        )
    assert noise >= 0.94 * 500
