"""95% intervals of means over problems and over training seeds (pure; numpy, scipy.special).

Problems are sampled, and so are training seeds; the samples of one problem are not independent observations. What one
problem scores in the mean is therefore one value, and with several seeds the two factors are crossed: every seed meets
the same problems. Intervals are Student's, as percentile bootstraps over problems cover too little where problems are
few: 92% for 64 problems with a mean of 9%, where `proportion` covers 95%. Near 0 and 1 few problems say little: at a
mean of 3% it covers 92% (the bootstrap 87%), Wilson's for 30 problems at 5% covers 93%. Simulations:
`tests/evaluation/test_coverage.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_Z = 1.959963984540054  # the standard normal's 97.5% quantile
LEAST = 5e-13  # smallest tail that is told apart from none


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean, and what varies in it: each component's variance of the mean (above 0) and its degrees of freedom."""

    mean: float
    components: tuple[tuple[float, float], ...]

    @property
    def standard_error(self) -> float:
        """0 where every problem and seed is alike."""
        return math.sqrt(sum(variance for variance, _ in self.components))

    def reach(self, tail: float) -> float:
        """How far from the mean an interval goes that leaves out `tail` on either side.

        ``sqrt(sum t(df)^2 variance)`` over the components: Howe 1974 (JASA 69, 789) for a sum of means; Student's t for
        one component. With 3 seeds 95% intervals cover 93.5-97% whether seeds differ or not, where Satterthwaite's
        common degrees of freedom give 92% (simulated).
        """
        from scipy.special import stdtrit  # scipy.stats takes far longer to import

        return math.sqrt(sum(float(stdtrit(df, tail)) ** 2 * variance for variance, df in self.components))

    @property
    def p_value(self) -> float:
        """Two-sided, against a mean of 0: what an interval that just excludes 0 leaves out; at least 1e-12."""
        from scipy.optimize import brentq

        distance = abs(self.mean)
        if not self.components or distance >= self.reach(LEAST):
            return 2 * LEAST if distance else 1.0
        return 2 * float(brentq(lambda tail: self.reach(tail) - distance, LEAST, 0.5))


def estimate(per_problem: Floats, sides: Sequence[Floats]) -> Estimate:
    """The mean of one value per problem; `sides` are the (seeds, problems) arrays from which the values were made.

    With one seed a side, ``SE^2 = var(values) / n``: the problem-clustered standard error, as samples and seeds are
    averaged within a problem first (Miller 2024, arXiv 2411.00640), with n - 1 degrees of freedom. Each side of S > 1
    seeds adds ``max(0, MS_seed - MS_residual) / (S n)``, with S - 1: the seed component of a two-way random-effects
    analysis of variance, of seeds crossed with problems. A side of one seed shows no spread: then the interval is for
    that one training.
    """
    n = len(per_problem)
    components = [(float(per_problem.var(ddof=1)) / n, n - 1.0)] if n > 1 else []
    for side in (s for s in sides if len(s) > 1):
        seeds, residual = _mean_squares(side)
        components.append(((seeds - residual) / side.size, len(side) - 1.0))
    return Estimate(float(per_problem.mean()), tuple(c for c in components if c[0] > 0))


def _mean_squares(side: Floats) -> tuple[float, float]:
    """Mean squares of seeds, and of what neither seed nor problem explains."""
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

    Wilson's with the effective sample size ``p (1 - p) / SE^2`` (Korn and Graubard 1998, Survey Methodology 24; with
    Wilson's interval, Dean and Pagano 2015) and Student's t for z. That size is never above `observations`, as samples
    of one problem cannot agree less than independent ones, and is `problems` where all score alike.
    """
    if not of.components:
        return wilson(of.mean * problems, problems)
    effective = min(of.mean * (1 - of.mean) / of.standard_error**2, observations)
    return wilson(of.mean * effective, effective, of.reach(0.025) / of.standard_error)


def difference(of: Estimate, problems: int) -> tuple[float, float]:
    """95% interval of a difference of accuracies, by Student's t; never of zero width.

    Where all problems differ alike nothing varies: then it reaches as far as Wilson's bound for 0 of `problems` unlike.
    """
    half = of.reach(0.025) if of.components else wilson(0, problems)[1]
    return max(-1.0, of.mean - half), min(1.0, of.mean + half)


def detectable(of: Estimate, problems: int) -> float:
    """Minimum detectable effect of a paired comparison (Bloom 1995, Evaluation Review 19), at most 1.

    The true difference that a two-sided 5% test finds with 80% power: ``(t.975 + t.8) SE`` of the paired differences.
    It is never below that of the SE that Wilson's bound for 0 of `problems` unlike stands for, as few discordant
    problems by chance do not make a benchmark sharper: about 6 of n for one sample, which is what McNemar's test needs.
    """
    least = Estimate(of.mean, (((wilson(0, problems)[1] / _Z) ** 2, math.inf),))
    return min(1.0, max(e.reach(0.025) + e.reach(0.2) for e in (of, least)))
