"""Estimators and paired tests over graded benchmark samples (pure; numpy). The intervals come from `intervals`.

Arrays are (problems, samples), or (seeds, problems, samples) for several trainings of one method. The problem is the
unit of sampling: k samples of one problem are not k independent observations. Everything is seeded, so equal input
gives equal output. No result is NaN or infinite.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..records import NO_VOTE, BenchmarkScore, PairedDifference
from .intervals import Estimate, Floats, detectable, difference, estimate, proportion, wilson

__all__ = ["accuracy", "by_label", "maj_at_k", "paired", "pass_at_k", "score", "vote_calibration", "wilson"]

RESAMPLES = 10_000
_CHUNK = 2**20  # numbers drawn at a time: 8 MB, however many problems there are


def score(
    benchmark: str,
    model: str,
    correct: ArrayLike,
    no_answer: ArrayLike,
    truncated: ArrayLike,
    tokens: ArrayLike,
    string_match: ArrayLike,
    unverified: ArrayLike,
    timeouts: ArrayLike,
    votes: ArrayLike,
) -> BenchmarkScore:
    """Score `model` on `benchmark` from arrays of one shape.

    `tokens` holds the length of each completion, and `votes` is as in `maj_at_k`. The accuracy and its interval come
    from `accuracy`.

    Raises:
        ValueError: an array is empty, not of 2 or 3 dimensions, not finite, or not of the shape of `correct`.
    """
    rates = {"no_answer": no_answer, "unverified": unverified, "timeouts": timeouts, "truncated": truncated}
    rates |= {"string_match": string_match}
    others = {**rates, "tokens": tokens, "votes": votes}
    grids = {name: _grid(name, values) for name, values in {"correct": correct, **others}.items()}
    shape = grids["correct"].shape
    for name, grid in grids.items():
        if grid.shape != shape:
            raise ValueError(f"{name} has shape {_shown(grid)}, correct has {_shown(grids['correct'])}: grade the same")
    _, n, k = shape
    mean, ci95 = accuracy(grids["correct"])
    by_seed = grids["correct"].mean(axis=(1, 2))
    return BenchmarkScore(
        benchmark=benchmark,
        model=model,
        n=n,
        samples=k,
        accuracy=mean.mean,
        ci95=ci95,
        standard_error=mean.standard_error,
        pass_at_k={str(j): pass_at_k(grids["correct"], j) for j in _powers_of_two(k)},
        maj_at_k=maj_at_k(grids["correct"], grids["votes"]),
        mean_tokens=float(grids["tokens"].mean()),
        p95_tokens=float(np.quantile(grids["tokens"], 0.95)),
        seeds=tuple(by_seed.tolist()),
        seed_sd=float(by_seed.std(ddof=1)) if len(by_seed) > 1 else 0.0,
        **{name: float(grids[name].mean()) for name in rates},
    )


def by_label(correct: ArrayLike, labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The number of problems (n), accuracy and its 95% interval for each label; empty if no problem has a label.

    Raises:
        ValueError: there is not one label for each problem; or as in `score`.
    """
    grid = _grid("correct", correct)
    if len(labels) != grid.shape[1]:
        raise ValueError(f"{len(labels)} labels for {grid.shape[1]} problems")
    groups = {}
    for label in sorted({x for x in labels if x}, key=lambda x: x.zfill(9) if x.isdigit() else x):
        group = grid[:, [x == label for x in labels]]
        mean, ci95 = accuracy(group)
        groups[label] = {"n": group.shape[1], "accuracy": mean.mean, "ci95": ci95}
    return groups


def accuracy(correct: ArrayLike) -> tuple[Estimate, tuple[float, float]]:
    """avg@k with its standard error, and its 95% interval: Wilson's for one sample and seed, otherwise `proportion`.

    Raises:
        ValueError: as in `score`.
    """
    grid = _grid("correct", correct)
    seeds, n, k = grid.shape
    rates = grid.mean(axis=2)
    mean = estimate(rates.mean(axis=0), [rates])
    return mean, wilson(grid.sum(), n) if seeds == k == 1 else proportion(mean, n, grid.size)


def pass_at_k(correct: ArrayLike, k: int) -> float:
    """Unbiased estimate of the chance that at least one of k samples is correct (Chen et al. 2021, arXiv 2107.03374).

    It is the mean over problems of ``1 - C(n - c, k) / C(n, k)`` for c correct among n samples.

    Raises:
        ValueError: k is not in 1 .. n; or as in `score`.
    """
    grid = _grid("correct", correct)
    n = grid.shape[2]
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs at least {max(k, 1)} samples of every problem, there are {n}")
    missed = [np.prod(1 - k / np.arange(n - c + 1, n + 1)) for c in range(n + 1)]
    return float(1 - np.array(missed)[grid.sum(axis=2).astype(int)].mean())


def maj_at_k(correct: ArrayLike, votes: ArrayLike) -> float:
    """Accuracy of the most common answer of each problem, over all its k samples (Wang et al. 2023, self-consistency).

    `votes` are integers: equal for equal canonical keys within a problem, and `NO_VOTE` for samples without an answer.
    A tie counts with its expectation under a uniform draw among the most common answers; no votes count as 0.
    """
    graded, cast = _grid("correct", correct), _grid("votes", votes)
    if graded.shape != cast.shape:
        raise ValueError(f"votes has shape {_shown(cast)}, correct has {_shown(graded)}: grade the same")
    k = graded.shape[2]
    return float(np.mean([_majority(c, v) for c, v in zip(graded.reshape(-1, k), cast.reshape(-1, k), strict=True)]))


def _majority(correct: Floats, votes: Floats) -> float:
    answers, first, counts = np.unique(votes, return_index=True, return_counts=True)
    counts[answers == NO_VOTE] = 0
    return float(correct[first[counts == counts.max()]].mean()) if counts.max() else 0.0


def vote_calibration(correct: ArrayLike, votes: ArrayLike) -> list[dict[str, float]]:
    """Accuracy of the most common answer by the number of samples, out of k, that agree on it.

    There is a row for every number of agreeing samples that occurs: `agree` (of k), `n` problems, and `accuracy`, the
    share of them whose most common answer is right. A tie counts with its expectation, as in `maj_at_k`. Problems
    without any answer are left out; several training seeds are counted together.
    """
    graded, cast = _grid("correct", correct), _grid("votes", votes)
    by_agreement: dict[int, list[float]] = defaultdict(list)
    k = graded.shape[2]
    for right, voted in zip(graded.reshape(-1, k), cast.reshape(-1, k), strict=True):
        if (voted != NO_VOTE).any():
            agree = int(np.unique(voted[voted != NO_VOTE], return_counts=True)[1].max())
            by_agreement[agree].append(_majority(right, voted))
    return [
        {"agree": agree, "n": len(hits), "accuracy": float(np.mean(hits))}
        for agree, hits in sorted(by_agreement.items())
    ]


def paired(correct_a: ArrayLike, correct_b: ArrayLike) -> PairedDifference:
    """Accuracy of a minus accuracy of b on the same problems; the numbers of samples and of seeds may differ.

    Wins and losses count the discordant problems: those whose mean is higher, or lower, with a. The interval is
    `intervals.difference`. The two-sided p-value comes from the exact McNemar test if both sides have one sample and
    one seed, and otherwise from a sign-flip permutation test over problems. With several seeds it is the larger of that
    one and the p-value of the interval, which includes the spread of seeds.

    Raises:
        ValueError: an array is empty, not of 2 or 3 dimensions, or not finite, or the numbers of problems differ.
    """
    a, b = _grid("correct_a", correct_a), _grid("correct_b", correct_b)
    n = a.shape[1]
    if n != b.shape[1]:
        raise ValueError(f"correct_a has {n} problems, correct_b has {b.shape[1]}: they must be the same problems")
    sides = [a.mean(axis=2), b.mean(axis=2)]
    differences = sides[0].mean(axis=0) - sides[1].mean(axis=0)
    differences[np.abs(differences) < 1e-12] = 0.0  # equal means of different numbers of samples differ by rounding
    mean = estimate(differences, sides)
    one = len(a) == len(b) == a.shape[2] == b.shape[2] == 1
    p_value = (_mcnemar if one else _sign_flip)(differences)
    if len(a) * len(b) > 1 and mean.components:
        p_value = max(p_value, mean.p_value)
    return PairedDifference(
        difference=mean.mean,
        ci95=difference(mean, n),
        p_value=p_value,
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
        standard_error=mean.standard_error,
        minimum_detectable_effect=detectable(mean, n),
    )


def _mcnemar(differences: Floats) -> float:
    """Exact binomial test that +1 and -1 are equally likely."""
    from scipy.special import bdtr  # scipy.stats takes far longer to import

    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return min(1.0, 2 * float(bdtr(min(wins, losses), wins + losses, 0.5)))


def _sign_flip(differences: Floats, seed: int = 0) -> float:
    """Permutation test that differences are symmetric about 0. The observed one is counted, so p is above 0."""
    rng, n, total = np.random.default_rng(seed), len(differences), differences.sum()
    # Sums of the differences that keep their sign. The sum with flipped signs is twice that minus the total.
    kept = _resampled(n, lambda rows: _coins(rng, rows, n) @ differences)
    extreme = np.abs(2 * kept - total) >= abs(total) - 1e-9  # rounding must not decide a tie
    return float((1 + extreme.sum()) / (1 + RESAMPLES))


def _coins(rng: np.random.Generator, rows: int, n: int) -> Floats:
    """(rows, n) fair draws of 0 and 1 from single bits: four times as fast as drawing integers."""
    drawn = np.frombuffer(rng.bytes(rows * n // 8 + 1), np.uint8)
    return np.unpackbits(drawn, count=rows * n).reshape(rows, n).astype(np.float64)


def _resampled(n: int, draw: Callable[[int], Floats]) -> Floats:
    """`RESAMPLES` statistics; ``draw(rows)`` computes `rows` of them from (rows, n) random numbers."""
    rows = max(1, _CHUNK // n)
    return np.concatenate([draw(min(rows, RESAMPLES - done)) for done in range(0, RESAMPLES, rows)])


def _powers_of_two(k: int) -> list[int]:
    """1, 2, 4, ... below k, and k."""
    return [*(2**i for i in range(k.bit_length()) if 2**i < k), k]


def _grid(name: str, values: ArrayLike) -> Floats:
    """`values` as a (seeds, problems, samples) array."""
    array: NDArray[Any] = np.asarray(values, dtype=np.float64)
    if array.ndim not in (2, 3) or array.size == 0:
        raise ValueError(
            f"{name} must be a non-empty array of shape (problems, samples) or (seeds, problems, samples), got shape "
            f"{array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity")
    return array.reshape(-1, *array.shape[-2:])


def _shown(grid: Floats) -> tuple[int, ...]:
    """The shape as the caller gave it: without the axis of seeds if there is one seed."""
    return grid.shape[1:] if len(grid) == 1 else grid.shape
