"""95% intervals of means over problems and over training seeds (pure; numpy, scipy.special).

Problems are a sample, and so are training seeds; the samples of one problem are not independent observations. The mean
score of a problem is therefore one value. With several seeds the two factors are crossed: every seed is evaluated on
the same problems.

Intervals use Student's t, because percentile bootstraps over problems cover too little if there are few problems: 92%
for 64 problems with a mean of 9%, where `proportion` covers 95%. Near 0 and 1 a few problems contain little
information: at a mean of 3% `proportion` covers 92% (the bootstrap 87%), and Wilson's interval for 30 problems at 5%
covers 93%. The simulations are in `tests/evaluation/test_coverage.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_Z = 1.959963984540054  # the standard normal's 97.5% quantile
LEAST = 5e-13  # smaller tails count as this one


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its variance components: each one's variance of the mean (above 0) and its degrees of freedom."""

    mean: float
    components: tuple[tuple[float, float], ...]

    @property
    def standard_error(self) -> float:
        """0 if all problems and seeds score the same."""
        return math.sqrt(sum(variance for variance, _ in self.components))

    def reach(self, tail: float) -> float:
        """Half the width of the interval that has a probability of `tail` outside on either side.

        ``sqrt(sum t(df)^2 variance)`` over the components: Howe 1974 (JASA 69, 789) for a sum of means, and Student's t
        for one component. In simulations with 3 seeds, 95% intervals cover 93.5-97% whether seeds differ or not;
        Satterthwaite's common degrees of freedom cover 92%.
        """
        from scipy.special import stdtrit  # scipy.stats takes far longer to import

        return math.sqrt(sum(float(stdtrit(df, tail)) ** 2 * variance for variance, df in self.components))

    @property
    def p_value(self) -> float:
        """Two-sided, against a mean of 0: 1 minus the coverage of the interval that just reaches 0; at least 1e-12."""
        from scipy.optimize import brentq

        distance = abs(self.mean)
        if not self.components or distance >= self.reach(LEAST):
            return 2 * LEAST if distance else 1.0
        return 2 * float(brentq(lambda tail: self.reach(tail) - distance, LEAST, 0.5))


def estimate(per_problem: Floats, sides: Sequence[Floats]) -> Estimate:
    """The mean of one value per problem; `sides` are the (seeds, problems) arrays that the values were computed from.

    With one seed per side, ``SE^2 = var(values) / n`` with n - 1 degrees of freedom: the problem-clustered standard
    error, because samples and seeds are averaged within a problem first (Miller 2024, arXiv 2411.00640). Each side of
    S > 1 seeds adds ``max(0, MS_seed - MS_residual) / (S n)`` with S - 1 degrees of freedom: the seed component of a
    two-way random-effects analysis of variance, with seeds crossed with problems. One seed shows no spread, so then the
    interval is for that one training.
    """
    n = len(per_problem)
    components = [(float(per_problem.var(ddof=1)) / n, n - 1.0)] if n > 1 else []
    for side in (s for s in sides if len(s) > 1):
        seeds, residual = _mean_squares(side)
        components.append(((seeds - residual) / side.size, len(side) - 1.0))
    return Estimate(float(per_problem.mean()), tuple(c for c in components if c[0] > 0))


def _mean_squares(side: Floats) -> tuple[float, float]:
    """Mean squares of seeds, and of the residual that neither seed nor problem explains."""
    seeds, n = side.shape
    by_seed, by_problem = side.mean(axis=1, keepdims=True), side.mean(axis=0)
    residual = ((side - by_seed - by_problem + side.mean()) ** 2).sum() / max(1, (seeds - 1) * (n - 1))
    return n * float(by_seed.var(ddof=1)), float(residual)


def wilson(successes: float, n: float, z: float = _Z) -> tuple[float, float]:
    """Wilson's score interval for a proportion (Wilson 1927, without continuity correction); 95% with the default z.

    Raises:
        ValueError: not 0 <= successes <= n with n > 0.
    """
    if not (n > 0 and 0 <= successes <= n):
        raise ValueError(f"need 0 <= successes <= n and n > 0, got {successes} of {n}")
    p, z2 = float(successes) / n, z**2 / n
    centre = (p + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * (p * (1 - p) + z2 / 4)) / (1 + z2)
    return max(0.0, centre - half), min(1.0, centre + half)


def proportion(of: Estimate, problems: int, observations: int) -> tuple[float, float]:
    """95% interval of an accuracy whose `observations` are clustered in `problems`.

    This is Wilson's interval with the effective sample size ``p (1 - p) / SE^2`` (Korn and Graubard 1998, Survey
    Methodology 24; with Wilson's interval, Dean and Pagano 2015) and Student's t for z. The effective size is at most
    `observations`, because samples of one problem cannot agree less than independent ones; it is `problems` if all
    problems score the same.
    """
    if not of.components:
        return wilson(of.mean * problems, problems)
    effective = min(of.mean * (1 - of.mean) / of.standard_error**2, observations)
    return wilson(of.mean * effective, effective, of.reach(0.025) / of.standard_error)


def difference(of: Estimate, problems: int) -> tuple[float, float]:
    """95% interval of a difference of accuracies by Student's t; its width is never zero.

    If all problems have the same difference, nothing varies. Then the half-width is Wilson's upper bound for 0 of
    `problems` differing.
    """
    half = of.reach(0.025) if of.components else wilson(0, problems)[1]
    return max(-1.0, of.mean - half), min(1.0, of.mean + half)


def detectable(of: Estimate, problems: int) -> float:
    """Minimum detectable effect of a paired comparison (Bloom 1995, Evaluation Review 19), at most 1.

    It is the true difference that a two-sided 5% test finds with 80% power: ``(t.975 + t.8) SE`` of the paired
    differences. The standard error is at least the one that Wilson's bound for 0 of `problems` differing implies,
    because a few discordant problems by chance do not make a benchmark sharper. For one sample this floor is about 6 of
    n problems, which McNemar's test needs too.
    """
    least = Estimate(of.mean, (((wilson(0, problems)[1] / _Z) ** 2, math.inf),))
    return min(1.0, max(e.reach(0.025) + e.reach(0.2) for e in (of, least)))
