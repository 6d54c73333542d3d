"""How much random selections of the same sizes would share."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

Distribution = NDArray[np.float64]
"""Probability of 0, 1, 2, ... shared neurons."""


def shared_by_chance(population: int, sizes: Sequence[int]) -> Distribution:
    """Distribution of |A and B and ...| for independent uniform sets of `sizes`.

    For two sets it is hypergeometric. A further set meets what the others share as it would meet
    any set of that size, so each one more is a mixture of hypergeometrics.
    """
    smallest, *others = sorted(sizes)
    found: Distribution = np.zeros(smallest + 1)
    found[smallest] = 1.0
    counts = np.arange(smallest + 1)
    for size in others:
        mixed: Distribution = np.zeros_like(found)
        for shared in np.flatnonzero(found):
            mixed += found[shared] * hypergeom.pmf(counts, population, shared, size)
        found = mixed
    return found


def sum_over_layers(layers: Sequence[Distribution]) -> Distribution:
    """Distribution of the sum of independent counts, one a layer."""
    total: Distribution = np.ones(1)
    for each in layers:
        total = np.convolve(total, each)
    return total


def at_least(distribution: Distribution, count: int) -> float:
    """Probability of `count` or more: the one-sided p-value."""
    return min(float(distribution[count:].sum()), 1.0)


def mean(distribution: Distribution) -> float:
    """Expected count."""
    return float(distribution @ np.arange(len(distribution)))
