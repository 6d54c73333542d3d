"""The trade-off of a sweep: what a fall of the behaviour costs in general perplexity."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sparc.display import numbers
from sparc.report.svg import Figure, Scale, axis_below, line, mark, picture, text
from sparc.report.sweep_charts import Change, Path, Series, ends_of, usable
from sparc.report.sweep_marks import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
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
from sparc.runs.tree import leaf

_COST = ("perplexity", "general")


@dataclass(frozen=True)
class _Mark:
    """One mark: the change across, the change up, and what stands beside it."""

    across: Change
    up: Change
    label: str

    def at(self, x: Scale, y: Scale) -> tuple[float, float]:
        return x(self.across["relative"]), y(self.up["relative"])


def _marks(series: Series, primary: Path, arm: str) -> list[_Mark]:
    """The marks of a method, or of its random control, where both changes were measured."""
    found = []
    for point in series.points:
        tree = point.change if arm == "pruned" else point.random
        across, up = leaf(tree, *_COST), leaf(tree, *primary)
        if usable(across) and usable(up):
            found.append(_Mark(across, up, f"{point.num_neurons:,}"))
    return found


def trade_off(series: Sequence[Series], primary: Path, metric: str) -> Figure | None:
    """Change of the primary metric (up) against that of general perplexity (across).

    None where no point has both.
    """
    pruned = [(each, _marks(each, primary, "pruned")) for each in series]
    random = [one for each in series for one in _marks(each, primary, "random")]
    every = [one for _, marks in pruned for one in marks] + random
    if not every:
        return None
    budget = series[0].points[0].budget
    costs = list(ends_of([one.across for one in every]))
    near = max(costs) > 0.3 * budget  # a far budget would leave no room for the points
    x, across = change_axis([*costs, budget] if near else costs, LEFT + 8, RIGHT - 8)
    y, up = change_axis(list(ends_of([one.up for one in every])), BOTTOM, TOP)
    title = "change of general perplexity"
    parts = [*axis_left(y, up), *axis_below(x, across, percent_labels(across), BOTTOM, title, TOP)]
    parts.append(line(x(0), TOP, x(0), BOTTOM, "zero"))
    if near:
        parts += _budget_line(x(budget), percent(budget, budget))
    parts += [mark("random", *one.at(x, y), 3.5) for one in random]
    for each, marks in pruned:
        parts += _drawn(each, marks, x, y)
    parts += labelled([(*one.at(x, y), one.label) for _, marks in pruned for one in marks])
    told = "The broken line is the budget" if near else f"The budget is {percent(budget, budget)}"
    return Figure(
        "The trade-off",
        f"Change of {metric} (up) against that of general perplexity (across), with 95% intervals; "
        "numbers are neurons removed, squares the random control. "
        f"Down and left is better. {told}.",
        picture(WIDTH, BOTTOM + 38, _spoken(pruned, metric), parts),
        ["method", "neurons removed", metric, "95% interval", "general perplexity", "95% interval"],
        [_told(each.name, one, primary) for each, marks in pruned for one in marks],
    )


def _spoken(pruned: Sequence[tuple[Series, Sequence[_Mark]]], metric: str) -> str:
    said = (
        f"{each.name}, {one.label} neurons: {numbers.percent(one.up['relative'])} at "
        f"{numbers.percent(one.across['relative'])}"
        for each, marks in pruned
        for one in marks
    )
    return f"Change of {metric} at a change of general perplexity. " + "; ".join(said)


def _told(name: str, one: _Mark, primary: Path) -> list[str]:
    return [
        name,
        one.label,
        numbers.changed(primary, one.up),
        numbers.interval(one.up),
        numbers.changed(_COST, one.across),
        numbers.interval(one.across),
    ]


def _budget_line(x: float, label: str) -> list[Markup]:
    # the label stands on the side that has room
    side, place = ("end", x - 5) if x > RIGHT - 90 else ("start", x + 5)
    words = text(place, TOP + 8, f"budget {label}", side, "small")
    return [line(x, TOP, x, BOTTOM, "cut"), words]


def _drawn(series: Series, marks: Sequence[_Mark], x: Scale, y: Scale) -> Iterator[Markup]:
    yield path_line(series.style, [one.at(x, y) for one in marks])
    faint = f"{series.style} faint"
    for one in marks:
        place = one.at(x, y)
        if one.up["ci95"]:
            yield upright(faint, place[0], *map(y, one.up["ci95"]))
        if one.across["ci95"]:
            yield lying(faint, place[1], *map(x, one.across["ci95"]))
        yield sign(series.style, *place)
