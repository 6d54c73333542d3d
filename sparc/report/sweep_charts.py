"""The charts of a sweep's report, each a pure function from points to a figure."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean as mean
from typing import Any

from sparc.report.axes import Axis, changes, ends_of, percents
from sparc.report.marks import Dots, Figure, Line, Mark, Point, drawing
from sparc.report.metrics import GENERAL
from sparc.report.metrics import change_and_interval as _told
from sparc.runs.tree import Path, leaf
from sparc.sweeps.seed_means import Point as Measured

_SHAPES = 5  # marks and colours of the style sheet; further methods repeat them with broken lines


@dataclass(frozen=True)
class Series:
    """The points of one method in the order of their amounts; `index` chooses its mark."""

    name: str
    index: int
    points: Sequence[Measured]

    @property
    def style(self) -> str:
        """Classes of the style sheet."""
        return f"s{self.index % _SHAPES}" + (" broken" if self.index >= _SHAPES else "")

    def measured(self, tree: str, *paths: Path) -> list[tuple[Measured, list[Any]]]:
        """The points whose `tree` has relative changes at all `paths`, each with these."""
        found = [
            (each, [leaf(getattr(each, tree), *path) for path in paths]) for each in self.points
        ]
        return [
            (point, told)
            for point, told in found
            if all(change and change["relative"] is not None for change in told)
        ]


def _random_band(series: Sequence[Series], path: Path) -> list[Mark]:
    """The random control, from the lowest to the highest of the methods' intervals, and its mean.

    Several methods have one each; the mean is that of their means.
    """
    found: dict[int, list[Any]] = defaultdict(list)
    for each in series:
        for point, (change,) in each.measured("random", path):
            found[point.num_neurons].append(change)
    if not found:
        return []
    amounts = sorted(found)
    wide = (0.95, 1.05) if len(amounts) == 1 else (1,)  # one amount alone still gets a band to see
    above = [(amount * by, max(ends_of(found[amount]))) for amount in amounts for by in wide]
    below = [(amount * by, min(ends_of(found[amount]))) for amount in amounts for by in wide]
    means = [mean(each["relative"] for each in found[amount]) for amount in amounts]
    middle = [Point(x, y, size=4) for x, y in zip(amounts, means, strict=True)]
    band = Line("band random", [*above, *reversed(below)], filled=True)
    return [band, Dots("random", middle, joined=True)]


def against_amount(title: str, path: Path, series: Sequence[Series], caption: str) -> Figure | None:
    """The relative change of the metric at `path` against the number of neurons removed.

    None where it was measured nowhere.
    """
    points = [point for each in series for point in each.points]
    pruned = [leaf(point.change, *path) for point in points]
    if not ends_of(pruned):
        return None
    amounts = sorted({point.num_neurons for point in points})
    low, high = (0.8, 1.2) if len(amounts) == 1 else (1, 1)
    ticks = [(amount, f"{amount:,}") for amount in amounts]
    x = Axis(low * amounts[0], high * amounts[-1], ticks, "neurons removed", unit=1)
    y = changes(ends_of([*pruned, *(leaf(point.random, *path) for point in points)]))
    marks = _random_band(series, path)
    for place, each in enumerate(series):
        dots = [
            Point(point.num_neurons, change["relative"], up=change["ci95"])
            for point, (change,) in each.measured("change", path)
        ]
        shift = 5.0 * (place - (len(series) - 1) / 2)
        marks.append(Dots(each.style, dots, joined=True, shift=shift))
    rows = [
        [*_named(each, p), *_told(p.change, path), *_told(p.random, path)]
        for each in series
        for p in each.points
    ]
    spoken = "; ".join(f"{name}, {amount} neurons: {change}" for name, amount, change, *_ in rows)
    columns = ["method", "neurons removed", "change", "95% interval", "random", "95% interval"]
    return Figure(title, caption, drawing(f"{title}. {spoken}", x, y, *marks), columns, rows)


def _named(series: Series, point: Measured) -> list[str]:
    return [series.name, f"{point.num_neurons:,}"]


def trade_off(series: Sequence[Series], primary: Path, metric: str) -> Figure | None:
    """Change of the primary metric (up) against that of general perplexity (across).

    None where no point has both.
    """
    pruned = [(each, each.measured("change", GENERAL, primary)) for each in series]
    random = [told for each in series for _, told in each.measured("random", GENERAL, primary)]
    every = [*random, *(told for _, points in pruned for _, told in points)]
    if not every:
        return None
    budget = series[0].points[0].budget
    allowed = percents([0.0, budget])[1]
    costs = ends_of(across for across, _ in every)
    near = max(costs) > 0.3 * budget  # a far budget would leave no room for the points
    x = changes([*costs, budget] if near else costs, "change of general perplexity")
    y = changes(ends_of(up for _, up in every))
    side = "end" if x.at(budget) > 0.7 else "start"  # where there is room
    ends = [(budget, y.low), (budget, y.high)]
    marks: list[Mark] = [Line("cut", ends, f"budget {allowed}", side)] if near else []
    controls = [Point(across["relative"], up["relative"], size=4) for across, up in random]
    marks += [Dots("random", controls), *map(_costs, pruned)]
    rows = [
        [*_named(each, point), *_told(point.change, primary), *_told(point.change, GENERAL)]
        for each, points in pruned
        for point, _ in points
    ]
    spoken = "; ".join(
        f"{name}, {n} neurons: {up} at {across}" for name, n, up, _, across, _ in rows
    )
    label = f"Change of {metric} at a change of general perplexity. {spoken}"
    said = "The broken line is the budget" if near else f"The budget is {allowed}"
    caption = (
        f"Change of {metric} (up) against that of general perplexity (across), with 95% intervals; "
        "numbers are neurons removed, squares the random control. "
        f"Down and left is better. {said}."
    )
    columns = ["method", "neurons removed", metric, "95% interval", "general perplexity"]
    columns.append("95% interval")
    return Figure("The trade-off", caption, drawing(label, x, y, *marks), columns, rows)


def _costs(pruned: tuple[Series, Sequence[tuple[Measured, Sequence[Any]]]]) -> Dots:
    series, measured = pruned
    dots = [
        Point(
            *(across["relative"], up["relative"]),
            *(across["ci95"], up["ci95"]),
            label=f"{point.num_neurons:,}",
        )
        for point, (across, up) in measured
    ]
    return Dots(f"{series.style} faint", dots, joined=True)
