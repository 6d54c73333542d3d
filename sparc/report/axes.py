"""The axes of a chart: where values lie between its ends, where ticks stand and what they say."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sparc.display import numbers
from sparc.display.plain import visible

Labels = Callable[[Sequence[float]], Sequence[str]]
_LOWEST = -1.06  # nothing falls by more than 100%, but for the ends of intervals
_WIDE = 3.0  # changes beyond +300% go on an axis that is logarithmic away from zero
_LONGEST = 22  # characters of a row's name; the table below a chart has it whole


@dataclass(frozen=True)
class Axis:
    """One direction of a chart."""

    low: float
    high: float
    ticks: Sequence[tuple[float, str]] = ()
    """Values with their labels; where room lacks, the first ones stay."""
    title: str = ""
    unit: float | None = None
    """Linear below, logarithmic beyond; linear everywhere without."""
    length: float = 230.0
    """In the picture, of an upright axis."""
    grid: bool = True

    def at(self, value: float) -> float:
        """0 at `low`, 1 at `high`; the middle where these are equal."""
        low, here, high = (self._bent(each) for each in (self.low, value, self.high))
        return 0.5 if low == high else (here - low) / (high - low)

    def _bent(self, value: float) -> float:
        return value if self.unit is None else math.asinh(value / self.unit)


def plain(values: Sequence[float]) -> list[str]:
    """Labels of numbers."""
    return [numbers.brief(value, 6) for value in values]


def percents(values: Sequence[float]) -> list[str]:
    """Labels of ascending changes, in percent with the digits that their distance needs."""
    step = 100 * min((b - a for a, b in pairwise(values)), default=1.0)
    digits = next((d for d in range(3) if abs(round(step, d) - step) < 1e-9), 3)
    return [f"{numbers.signed(100 * value, digits)}%" for value in values]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers between `low` and `high`."""
    span = high - low
    if not span > 0:
        return [low]
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def linear(low: float, high: float, title: str = "", labels: Labels = plain) -> Axis:
    """Round numbers at equal distances."""
    at = ticks(low, high)
    return Axis(low, high, list(zip(at, labels(at), strict=True)), title)


def bent(low: float, high: float, unit: float, title: str = "", labels: Labels = plain) -> Axis:
    """Zero and powers of ten, linear below `unit` and logarithmic beyond."""
    powers = [10.0**k for k in range(-12, 13) if 10.0**k >= unit]
    at = [v for v in sorted([0.0, *powers, *(-p for p in powers)]) if low <= v <= high]
    told = zip(at, labels(at), strict=True)
    return Axis(low, high, sorted(told, key=lambda tick: abs(tick[0])), title, unit)


def changes(ends: Iterable[float], title: str = "", unit: float | None = None) -> Axis:
    """Relative changes in percent, with zero; logarithmic where `unit` or their size asks for it.

    Never narrower than one percent to either side, so that noise does not look like an effect.
    """
    ends = list(ends)
    low, high = min([-0.01, *ends]), max([0.01, *ends])
    if unit is None and high <= _WIDE:
        return linear(max(low, _LOWEST), high, title, percents)
    return bent(low, high, unit or 0.1, title, percents)


def rows(names: Iterable[str], height: float = 24.0) -> Axis:
    """Rows from the top: `n` reaches from n to n + 1."""
    told = [(row + 0.5, visible(name, _LONGEST)) for row, name in enumerate(names)]
    return Axis(len(told), 0, told, length=height * len(told) + 12, grid=False)


def ends_of(changes: Iterable[Mapping[str, Any] | None]) -> list[float]:
    """All that an axis of these changes must hold: themselves and the ends of their intervals."""
    known = [each for each in changes if each is not None and each["relative"] is not None]
    return [end for each in known for end in (each["relative"], *(each["ci95"] or ()))]
