"""Changes of paired metrics: intervals, p-values and the smallest effect a design could detect.

A metric is a smooth function of a mean over independent units (prompts, or windows of text), and
all arms share their units. That makes each question below one matrix product.

Interval. The relative change r = numerator / baseline is found by inverting a studentised test
(Fieller 1954): r belongs to the interval when |numerator - r * baseline| is at most a critical
value times its standard error. The critical value is the bootstrap-t quantile over resampled
units and, where there are several, resampled random draws (Efron & Tibshirani 1993, ch. 12;
Hwang 1995 for the inversion), and never below Student's t. Nonlinear metrics enter by their
jackknife pseudo-values (Efron & Tibshirani 1993, ch. 11). Chosen over percentile, BCa and plain
bootstrap-t intervals by simulation on zero-inflated scores: those cover too little after large
reductions, when few units are left above zero.

p-value of a change: permutation of the arms within each unit (Ernst 2004), exact where nothing
was changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from scipy import stats

from sparc.evaluation.resampling import (
    LEVEL,
    SWAP_ARMS,
    SWAP_WITH_BASELINE,
    Array,
    Pair,
    bootstrap_p,
    draw_effects,
    permutation_p,
    pseudo_values,
    relative_interval,
    sample_variance,
)

MIN_UNITS = 5  # fewer units carry a value, but no statement about its uncertainty
MIN_DRAWS = 2  # one random draw says nothing of how much draws differ
MIN_DRAWS_FOR_RANK = 19  # the smallest number of draws with which a rank can reach p = 0.05
RESAMPLES = 2000


@dataclass(frozen=True)
class Metric:
    """A number that is a function of means over independent units.

    `units` [n, m]: one row for each unit (prompt or window), m moments. `function` maps means
    [..., m] to values [...]. `samples`: completions (or tokens) behind one unit. A number without
    a sampling distribution of use, such as a maximum, is held as a single unit.
    """

    units: Array
    function: Callable[[Array], Array]
    samples: float = 1.0

    @property
    def value(self) -> float | None:
        """The metric's value; None where it is not defined (nothing was measured)."""
        return _finite(self.function(self.units.mean(0))) if len(self.units) else None


class Change(TypedDict):
    """A leaf of the results: `ci95` is the 95% interval of the relative change."""

    absolute: float | None
    relative: float | None
    ci95: list[float] | None
    p_value: float | None


@dataclass(frozen=True)
class Rank:
    """The place of the selection among random draws, 1 = lowest; one-sided p = rank / of."""

    rank: int
    of: int
    p_value: float


def change(
    baseline: Metric, arms: Sequence[Metric], *, seed: int, resamples: int = RESAMPLES
) -> Change:
    """Mean over `arms` minus `baseline`, paired by unit.

    One arm: the interval is over units; several arms (random draws): over units and draws. The
    relative change is None where the baseline is zero or undefined; its interval is None there,
    with fewer than `MIN_UNITS` units, and where the baseline is so close to zero that the ratio
    has no bounds. The p-value is that of the permutation of arms within units, under the
    hypothesis that nothing changed. Raises ValueError when the arms do not share their units.
    """
    _check_paired([baseline, *arms])
    start, end = baseline.value, _mean_value(arms)
    if start is None or end is None or len(baseline.units) < MIN_UNITS:
        return _without_interval(start, end, start)
    values, base = _pseudo_values(arms), _pseudo_values([baseline])[:, 0]
    if not (np.isfinite(values).all() and np.isfinite(base).all()):
        return _without_interval(start, end, start)
    numerator = values.mean(1) - base
    pair = Pair(
        numerator, base, end - start, start, SWAP_WITH_BASELINE, baseline.samples,
        draw_effects(values), 1 / len(arms),
    )  # fmt: skip
    interval = relative_interval(pair, seed=seed, resamples=resamples)
    units = np.stack([metric.units for metric in [baseline, *arms]])
    return Change(
        absolute=end - start,
        relative=_ratio(end - start, start),
        # No metric here can fall by more than all of it.
        ci95=interval and [max(bound, -1.0) for bound in interval],
        p_value=permutation_p(units, baseline.function, seed=seed, resamples=resamples),
    )


def difference(
    baseline: Metric,
    selected: Metric,
    draws: Sequence[Metric],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Change:
    """`selected` minus the mean of the random `draws`, relative to `baseline`.

    The interval is over units and draws. Where draws differ by more than the units explain, the
    selection is given the same spread, as if it were one draw more: a lucky random selection must
    not count as better than random. The p-value belongs to the interval (bootstrap-t, +1
    correction, never below Student's t). Permuting the arms' names would be exact, but with D
    draws its p cannot fall below 1 / (D + 1): see `random_rank`.
    """
    _check_paired([baseline, selected, *draws])
    start, end, random = baseline.value, selected.value, _mean_value(draws)
    known = start is not None and end is not None and random is not None
    if not known or len(baseline.units) < MIN_UNITS or len(draws) < MIN_DRAWS:
        return _without_interval(random, end, start)
    assert start is not None and end is not None and random is not None
    values, (base, chosen) = _pseudo_values(draws), _pseudo_values([baseline, selected]).T
    if not all(np.isfinite(part).all() for part in (values, base, chosen)):
        return _without_interval(random, end, start)
    numerator = chosen - values.mean(1)
    share = 1 + 1 / len(draws)
    pair = Pair(
        numerator, base, end - random, start, SWAP_ARMS, baseline.samples,
        draw_effects(values), share, share * sample_variance(values.mean(0)),
    )  # fmt: skip
    return Change(
        absolute=end - random,
        relative=_ratio(end - random, start),
        ci95=relative_interval(pair, seed=seed, resamples=resamples),
        p_value=bootstrap_p(pair, seed=seed, resamples=resamples),
    )


def smallest_detectable(baseline: Metric, arm: Metric, *, power: float = 0.8) -> float | None:
    """The smallest |relative change| that this design finds with probability `power`.

    (t_0.975 + t_power) standard errors of the paired difference, over the baseline's value. None
    where the baseline is zero or there are too few units.
    """
    _check_paired([baseline, arm])
    n, start = len(baseline.units), baseline.value
    if n < MIN_UNITS or not start or arm.value is None:
        return None
    error = np.std(np.diff(_pseudo_values([baseline, arm]))[:, 0], ddof=1) / np.sqrt(n)
    quantiles = stats.t.ppf([(1 + LEVEL) / 2, power], n - 1)
    return _finite(quantiles.sum() * error / abs(start))


def random_rank(selected: float, draws: Sequence[float]) -> Rank | None:
    """The rank of `selected` among random `draws` (ties count against it); None below 19 draws."""
    if len(draws) < MIN_DRAWS_FOR_RANK:
        return None
    rank = 1 + sum(draw <= selected for draw in draws)
    return Rank(rank=rank, of=len(draws) + 1, p_value=rank / (len(draws) + 1))


def paired_z_test(n: int, sd_a: float, sd_b: float, difference: float, correlation: float) -> float:
    """Two-sided p of a difference of two means of n pairs, from summary numbers alone.

    For judging published results: reports seldom state the correlation within pairs, so ask for
    several. Raises ValueError for n < 2 or a correlation outside [-1, 1].
    """
    if n < 2 or not -1 <= correlation <= 1:
        raise ValueError("paired_z_test needs n >= 2 and a correlation in [-1, 1]")
    variance = (sd_a**2 + sd_b**2 - 2 * correlation * sd_a * sd_b) / n
    if variance <= 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * stats.norm.sf(abs(difference) / np.sqrt(variance)))


def _without_interval(start: float | None, end: float | None, over: float | None) -> Change:
    if start is None or end is None:
        return Change(absolute=None, relative=None, ci95=None, p_value=None)
    return Change(absolute=end - start, relative=_ratio(end - start, over), ci95=None, p_value=None)


def _mean_value(arms: Sequence[Metric]) -> float | None:
    """The mean of the arms' values; None when there is no arm or one has no value."""
    values = [arm.value for arm in arms]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _pseudo_values(metrics: Sequence[Metric]) -> Array:
    """[n, metrics]."""
    return np.stack([pseudo_values(metric.units, metric.function) for metric in metrics], 1)


def _check_paired(metrics: Sequence[Metric]) -> None:
    shapes = {metric.units.shape for metric in metrics}
    if len(shapes) > 1:
        raise ValueError(f"arms of one comparison must share their units; got shapes {shapes}")


def _ratio(top: float, bottom: float | None) -> float | None:
    return _finite(top / bottom) if bottom else None


def _finite(value: float | Array) -> float | None:
    number = float(value)
    return number if np.isfinite(number) else None
