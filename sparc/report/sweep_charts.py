"""The charts of a sweep's report, each a pure function from points to a figure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from sparc.display import numbers
from sparc.report.svg import Figure, Scale, axis_below, mark, picture, tag
from sparc.report.sweep_marks import (
    BOTTOM,
    SHAPES,
    TOP,
    WIDTH,
    amounts_axis,
    axis_left,
    change_axis,
    path_line,
    sign,
    upright,
)
from sparc.runs.tree import leaf
from sparc.sweeps.seed_means import Point

Path = tuple[str, ...]
Change = Mapping[str, Any]


@dataclass(frozen=True)
class Series:
    """The points of one method in the order of their amounts; `index` chooses its mark."""

    name: str
    index: int
    points: Sequence[Point]

    @property
    def style(self) -> str:
        """Classes of the style sheet."""
        return f"s{self.index % SHAPES}" + (" broken" if self.index >= SHAPES else "")


def usable(change: Change | None) -> bool:
    """Whether a relative change was measured."""
    return change is not None and change["relative"] is not None


def ends_of(changes: Sequence[Change | None]) -> Iterator[float]:
    """All that an axis must hold: the relative changes and the ends of their intervals."""
    for change in changes:
        if change is not None and change["relative"] is not None:
            yield from (change["relative"], *(change["ci95"] or ()))


def random_control(series: Sequence[Series], path: Path) -> list[tuple[int, float, float, float]]:
    """(amount, low, mean, high) of the random control.

    Several methods have one each: low and high are the outermost ends of their intervals, mean is
    the mean of their means.
    """
    found: dict[int, list[Change]] = {}
    for each in series:
        for point in each.points:
            change = leaf(point.random, *path)
            if usable(change):
                found.setdefault(point.num_neurons, []).append(change)
    control = []
    for amount, changes in sorted(found.items()):
        ends = list(ends_of(changes))
        mean = sum(change["relative"] for change in changes) / len(changes)
        control.append((amount, min(ends), mean, max(ends)))
    return control


def _band(control: Sequence[tuple[int, float, float, float]], x: Scale, y: Scale) -> list[Markup]:
    if not control:
        return []
    # one amount alone still gets a band to see
    half = 9.0 if len(control) == 1 else 0.0
    above = [(x(amount) + d, y(high)) for amount, _, _, high in control for d in {-half, half}]
    below = [(x(amount) + d, y(low)) for amount, low, _, _ in control for d in {-half, half}]
    corners = [*sorted(above), *sorted(below, reverse=True)]
    at = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
    middle = [(x(amount), y(mean)) for amount, _, mean, _ in control]
    return [
        tag("polygon", {"points": at, "class": "band"}),
        path_line("random", middle),
        *(mark("random", a, b, 3.5) for a, b in middle),
    ]


def against_amount(title: str, path: Path, series: Sequence[Series], caption: str) -> Figure | None:
    """The relative change of the metric at `path` against the number of neurons removed.

    None where it was measured nowhere.
    """
    changes = [leaf(p.change, *path) for each in series for p in each.points]
    if not any(map(usable, changes)):
        return None
    control = random_control(series, path)
    ends = [*ends_of(changes), *(end for _, low, _, high in control for end in (low, high))]
    y, at = change_axis(ends, BOTTOM, TOP)
    amounts = sorted({point.num_neurons for each in series for point in each.points})
    x, shown = amounts_axis(amounts)
    labels = [f"{amount:,}" for amount in shown]
    below = axis_below(x, shown, labels, BOTTOM, "neurons removed", TOP)
    parts = [*axis_left(y, at), *below, *_band(control, x, y)]
    for place, each in enumerate(series):
        shift = 5.0 * (place - (len(series) - 1) / 2)
        parts += _drawn(each, path, x, y, shift)
    rows = [row for each in series for row in _told(each, path)]
    spoken = "; ".join(f"{name}, {amount} neurons: {change}" for name, amount, change, *_ in rows)
    drawing = picture(WIDTH, BOTTOM + 38, f"{title}. {spoken}", parts)
    columns = ["method", "neurons removed", "change", "95% interval", "random", "95% interval"]
    return Figure(title, caption, drawing, columns, rows)


def _drawn(series: Series, path: Path, x: Scale, y: Scale, shift: float) -> Iterator[Markup]:
    # shifted, so that the intervals of several methods stand beside each other
    places = []
    marks = []
    for point in series.points:
        change = leaf(point.change, *path)
        if not usable(change):
            continue
        at = x(point.num_neurons) + shift, y(change["relative"])
        places.append(at)
        if change["ci95"]:
            marks.append(upright(series.style, at[0], y(change["ci95"][0]), y(change["ci95"][1])))
        marks.append(sign(series.style, *at))
    yield path_line(series.style, places)
    yield from marks


def _told(series: Series, path: Path) -> Iterator[list[str]]:
    for point in series.points:
        change, random = leaf(point.change, *path), leaf(point.random, *path)
        yield [
            series.name,
            f"{point.num_neurons:,}",
            numbers.changed(path, change),
            numbers.interval(change),
            numbers.changed(path, random),
            numbers.interval(random),
        ]
