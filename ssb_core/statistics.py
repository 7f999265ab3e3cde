"""Estimators, 95% intervals and paired tests over graded benchmark samples (pure; numpy).

The problem is the unit of sampling: k samples of one problem are not k independent observations, so with k > 1 whole
problems are resampled. Everything is seeded: equal input gives equal output. No NaN or infinity comes out.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .records import BenchmarkScore, PairedDifference

Floats = NDArray[np.float64]

RESAMPLES = 10_000
_Z = 1.959963984540054  # the standard normal's 97.5% quantile
_CHUNK = 2**20  # numbers drawn at a time: 8 MB however many problems there are


def score(
    benchmark: str,
    model: str,
    correct: ArrayLike,
    no_answer: ArrayLike,
    truncated: ArrayLike,
    tokens: ArrayLike,
    string_match: ArrayLike,
    unverified: ArrayLike,
) -> BenchmarkScore:
    """Score `model` on `benchmark` from (problems, samples) arrays; `tokens` counts each completion's tokens.

    Accuracy is avg@k. Its interval is Wilson's for k = 1, a bootstrap over problems otherwise. Where all problems
    score alike there is nothing to resample: then it is Wilson's too, counting each problem once.

    Raises:
        ValueError: an array is empty, not two-dimensional, not finite, or not of the shape of `correct`.
    """
    others = {"no_answer": no_answer, "unverified": unverified, "truncated": truncated, "string_match": string_match}
    others |= {"mean_tokens": tokens}
    grids = {name: _grid(name, values) for name, values in {"correct": correct, **others}.items()}
    n, k = grids["correct"].shape
    for name, grid in grids.items():
        if grid.shape != (n, k):
            raise ValueError(f"{name} has shape {grid.shape}, correct has {(n, k)}: grade the same samples")
    means = {name: float(grid.mean()) for name, grid in grids.items()}
    accuracy = means.pop("correct")
    rates = grids["correct"].mean(axis=1)
    ci95 = wilson(rates.sum(), n) if k == 1 or np.ptp(rates) == 0 else bootstrap_mean(rates)
    return BenchmarkScore(benchmark, model, n, k, accuracy, ci95, **means)


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Wilson's 95% score interval for a proportion (Wilson 1927, without continuity correction).

    Raises:
        ValueError: not 0 <= successes <= n with n > 0.
    """
    if not (n > 0 and 0 <= successes <= n):
        raise ValueError(f"need 0 <= successes <= n and n > 0, got {successes} of {n}")
    p, z2 = float(successes) / n, _Z**2 / n
    centre = (p + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * (p * (1 - p) + z2 / 4)) / (1 + z2)
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap_mean(values_per_problem: ArrayLike, seed: int = 0) -> tuple[float, float]:
    """95% percentile bootstrap interval of the mean of one value per problem; of zero width if all are equal.

    Raises:
        ValueError: the values are empty, not one-dimensional or not finite.
    """
    values = _checked("values_per_problem", values_per_problem, ndim=1)
    rng, n = np.random.default_rng(seed), len(values)
    means = _resampled(n, lambda rows: values[rng.integers(n, size=(rows, n))].mean(axis=1))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def paired(correct_a: ArrayLike, correct_b: ArrayLike) -> PairedDifference:
    """Accuracy of a minus b on the same problems, from two (problems, samples) arrays; sample counts may differ.

    The interval is a bootstrap over problems (never of zero width). The two-sided p-value is the exact McNemar test's
    for one sample on both sides, otherwise a sign-flip permutation test's over problems.

    Raises:
        ValueError: an array is empty, not two-dimensional or not finite, or the numbers of problems differ.
    """
    a, b = _grid("correct_a", correct_a), _grid("correct_b", correct_b)
    if len(a) != len(b):
        raise ValueError(f"correct_a has {len(a)} problems, correct_b has {len(b)}: they must be the same problems")
    differences = a.mean(axis=1) - b.mean(axis=1)
    test = _mcnemar if a.shape[1] == b.shape[1] == 1 else _sign_flip
    interval = bootstrap_mean(differences) if np.ptp(differences) else _uniform_interval(float(differences[0]), len(a))
    return PairedDifference(float(differences.mean()), interval, test(differences))


def _uniform_interval(difference: float, n: int) -> tuple[float, float]:
    """Where all n problems differ alike there is nothing to resample: as far as Wilson's bound for 0 of n unlike."""
    unseen = wilson(0, n)[1]
    return max(-1.0, difference - unseen), min(1.0, difference + unseen)


def _mcnemar(differences: Floats) -> float:
    """Exact binomial test that +1 and -1 are equally likely."""
    from scipy.special import bdtr  # scipy.stats takes far longer to import

    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return min(1.0, 2 * float(bdtr(min(wins, losses), wins + losses, 0.5)))


def _sign_flip(differences: Floats, seed: int = 0) -> float:
    """Permutation test that differences are symmetric about 0; counting the observed one keeps p above 0."""
    rng, n = np.random.default_rng(seed), len(differences)
    sums = _resampled(n, lambda rows: rng.choice([-1.0, 1.0], size=(rows, n)) @ differences)
    extreme = np.abs(sums) >= abs(differences.sum()) - 1e-9  # rounding must not decide a tie
    return float((1 + extreme.sum()) / (1 + RESAMPLES))


def _resampled(n: int, draw: Callable[[int], Floats]) -> Floats:
    """`RESAMPLES` statistics from ``draw(rows)``, which makes (rows, n) numbers to compute `rows` of them."""
    rows = max(1, _CHUNK // n)
    return np.concatenate([draw(min(rows, RESAMPLES - done)) for done in range(0, RESAMPLES, rows)])


def _grid(name: str, values: ArrayLike) -> Floats:
    return _checked(name, values, ndim=2)


def _checked(name: str, values: ArrayLike, ndim: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != ndim or array.size == 0:
        wanted = "(problems, samples)" if ndim == 2 else "(problems,)"
        raise ValueError(f"{name} must be a non-empty array of shape {wanted}, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity")
    return array
