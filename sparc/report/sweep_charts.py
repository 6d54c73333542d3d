"""The charts of a sweep's report, each a pure function from points to a figure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from sparc.report import numbers
from sparc.report.numbers import leaf
from sparc.report.svg import Figure, Scale, axis_below, line, mark, picture, tag, text
from sparc.report.sweep_marks import (
    BOTTOM,
    LEFT,
    RIGHT,
    SHAPES,
    TOP,
    WIDTH,
    amounts_axis,
    axis_left,
    change_axis,
    labelled,
    lying,
    path_line,
    percent,
    percent_labels,
    sign,
    upright,
)
from sparc.sweeps.points import Point

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


def _usable(change: Change | None) -> bool:
    return change is not None and change["relative"] is not None


def _ends(changes: Sequence[Change | None]) -> Iterator[float]:
    for change in changes:
        if change is not None and change["relative"] is not None:
            yield from (change["relative"], *(change["ci95"] or ()))


def random_control(series: Sequence[Series], path: Path) -> list[tuple[int, float, float, float]]:
    """(amount, low, mean, high) of the random control; of several methods' the widest interval."""
    found: dict[int, list[Change]] = {}
    for each in series:
        for point in each.points:
            change = leaf(point.random, *path)
            if _usable(change):
                found.setdefault(point.num_neurons, []).append(change)
    control = []
    for amount, changes in sorted(found.items()):
        ends = list(_ends(changes))
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
    if not any(map(_usable, changes)):
        return None
    control = random_control(series, path)
    ends = [*_ends(changes), *(end for _, low, _, high in control for end in (low, high))]
    y, at = change_axis(ends, BOTTOM, TOP)
    amounts = sorted({point.num_neurons for each in series for point in each.points})
    x, shown = amounts_axis(amounts)
    labels = [f"{amount:,}" for amount in shown]
    below = axis_below(x, shown, labels, BOTTOM, "neurons removed", TOP)
    parts = [*axis_left(y, at), *below, *_band(control, x, y)]
    for place, each in enumerate(series):
        shift = 5.0 * (place - (len(series) - 1) / 2)
        parts += _drawn(each, path, lambda amount, by=shift: x(amount) + by, y)
    rows = [row for each in series for row in _told(each, path)]
    spoken = "; ".join(f"{name}, {amount} neurons: {change}" for name, amount, change, *_ in rows)
    drawing = picture(WIDTH, BOTTOM + 38, f"{title}. {spoken}", parts)
    columns = ["method", "neurons removed", "change", "95% interval", "random", "95% interval"]
    return Figure(title, caption, drawing, columns, rows)


def _drawn(series: Series, path: Path, x: Callable[[float], float], y: Scale) -> Iterator[Markup]:
    places = []
    marks = []
    for point in series.points:
        change = leaf(point.change, *path)
        if not _usable(change):
            continue
        at = x(point.num_neurons), y(change["relative"])
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


def trade_off(series: Sequence[Series], primary: Path, metric: str) -> Figure | None:
    """Change of the primary metric (up) against that of general perplexity (across).

    None where no point has both.
    """
    cost = ("perplexity", "general")
    both = [
        (leaf(tree, *cost), leaf(tree, *primary))
        for each in series
        for point in each.points
        for tree in (point.change, point.random)
        if _usable(leaf(tree, *cost)) and _usable(leaf(tree, *primary))
    ]
    if not both:
        return None
    budget = series[0].points[0].budget
    costs = list(_ends([pair[0] for pair in both]))
    near = max(costs) > 0.3 * budget  # a far budget would leave no room for the points
    x, across = change_axis([*costs, budget] if near else costs, LEFT + 8, RIGHT - 8)
    y, up = change_axis(list(_ends([pair[1] for pair in both])), BOTTOM, TOP)
    title = "change of general perplexity"
    parts = [*axis_left(y, up), *axis_below(x, across, percent_labels(across), BOTTOM, title, TOP)]
    parts.append(line(x(0), TOP, x(0), BOTTOM, "zero"))
    if near:
        parts += _budget_line(x(budget), percent(budget, budget))
    for each in series:
        parts += _traded(each, cost, primary, x, y)
    parts += labelled(
        [
            (x(leaf(p.change, *cost)["relative"]), y(leaf(p.change, *primary)["relative"]), str(n))
            for each in series
            for p in each.points
            if _usable(leaf(p.change, *cost)) and _usable(leaf(p.change, *primary))
            for n in [p.num_neurons]
        ]
    )
    label = f"{metric} against general perplexity, an amount a mark"
    return Figure(
        "The trade-off",
        f"Change of {metric} (up) against that of general perplexity (across), with 95% intervals; "
        "numbers are neurons removed, squares the random control. Down and left is better. "
        + (
            "The broken line is the budget."
            if near
            else f"The budget is {percent(budget, budget)}."
        ),
        picture(WIDTH, BOTTOM + 38, label, parts),
        ["method", "neurons removed", metric, "general perplexity"],
        [
            [
                each.name,
                f"{point.num_neurons:,}",
                numbers.changed(primary, leaf(point.change, *primary)),
                numbers.changed(cost, leaf(point.change, *cost)),
            ]
            for each in series
            for point in each.points
        ],
    )


def _budget_line(x: float, label: str) -> list[Markup]:
    # the label stands on the side that has room
    side, place = ("end", x - 5) if x > RIGHT - 90 else ("start", x + 5)
    words = text(place, TOP + 8, f"budget {label}", side, "small")
    return [line(x, TOP, x, BOTTOM, "cut"), words]


def _traded(series: Series, cost: Path, primary: Path, x: Scale, y: Scale) -> Iterator[Markup]:
    places, marks = [], []
    for point in series.points:
        across, up = leaf(point.change, *cost), leaf(point.change, *primary)
        control = leaf(point.random, *cost), leaf(point.random, *primary)
        if _usable(control[0]) and _usable(control[1]):
            marks.append(mark("random", x(control[0]["relative"]), y(control[1]["relative"]), 3.5))
        if not (_usable(across) and _usable(up)):
            continue
        at = x(across["relative"]), y(up["relative"])
        places.append(at)
        if up["ci95"]:
            marks.append(upright(f"{series.style} faint", at[0], *map(y, up["ci95"])))
        if across["ci95"]:
            marks.append(lying(f"{series.style} faint", at[1], *map(x, across["ci95"])))
        marks.append(sign(series.style, *at))
    yield path_line(series.style, places)
    yield from marks
