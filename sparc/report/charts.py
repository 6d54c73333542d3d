"""The charts of a run's report, each a pure function from numbers to a figure."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sparc.display import numbers
from sparc.report.svg import (
    Figure,
    axis_below,
    line,
    linear,
    mark,
    picture,
    rectangle,
    symlog,
    tag,
    text,
    ticks,
    whisker,
)

_WIDTH = 420.0
_BINS = 20
Means = Mapping[str, Mapping[str, float]]
Change = Mapping[str, Any]


def interval_bar(arm: str, change: Change | None, low: float, high: float) -> Markup:
    """A relative change with its interval on [low, high]; zero is a line. For a table's cell."""
    scale = linear(low, high, 6, 104)
    parts = [line(scale(0), 1, scale(0), 17, "zero")]
    if change is not None and change["relative"] is not None:
        if change["ci95"]:
            bounds = [min(max(bound, low), high) for bound in change["ci95"]]
            parts.append(whisker(arm, scale(bounds[0]), scale(bounds[1]), 9))
        parts.append(mark(arm, scale(min(max(change["relative"], low), high)), 9, 4))
    box = {"viewBox": "0 0 110 18", "class": "inline", "aria-hidden": "true", "focusable": "false"}
    return tag("svg", box, *parts)


def _binned(means: Mapping[str, float]) -> list[int]:
    counts = Counter(min(int(value * _BINS), _BINS - 1) for value in means.values())
    return [counts[index] for index in range(_BINS)]


def _panel(arm: str, counts: Sequence[int], highest: int, top: float, mean: float) -> list[Markup]:
    x, base = linear(0, 1, 70, _WIDTH - 12), top + 62
    bar = linear(0, highest, 0, 54)
    parts = [text(4, base - 24, arm), text(4, base - 10, f"mean {mean:.3f}", class_="small")]
    for index, count in enumerate(counts):
        left, right = x(index / _BINS), x((index + 1) / _BINS)
        if count:
            height = max(bar(count), 1.5)
            parts.append(rectangle(left + 0.7, base - height, right - left - 1.4, height, arm))
    parts += [line(x(0), base, x(1), base), line(x(mean), base - 60, x(mean), base + 4, "mean")]
    return parts


def distributions(means: Means, category: str) -> Figure:
    """How the prompts' mean scores are spread, an arm a panel on one scale."""
    arms = [arm for arm in ("baseline", "pruned", "random", "oracle") if means.get(arm)]
    counts = {arm: _binned(means[arm]) for arm in arms}
    averages = {arm: sum(means[arm].values()) / len(means[arm]) for arm in arms}
    highest = max(max(each) for each in counts.values())
    parts: list[Markup] = []
    for row, arm in enumerate(arms):
        parts += _panel(arm, counts[arm], highest, 6.0 + 72 * row, averages[arm])
    bottom = 72.0 * len(arms)
    at = [0.0, 0.25, 0.5, 0.75, 1.0]
    scale = linear(0, 1, 70, _WIDTH - 12)
    title = f"mean score of a prompt (tallest bar: {highest} prompts)"
    axis = axis_below(scale, at, [f"{value:g}" for value in at], bottom, title, 4)
    label = f"Toxicity of {category} prompts: " + ", ".join(
        f"{arm} mean {averages[arm]:.3f}" for arm in arms
    )
    return Figure(
        f"Toxicity of {category} prompts",
        "Each prompt counts once, with the mean score of its completions. The line is the mean.",
        picture(_WIDTH, bottom + 38, label, [*axis, *parts]),
        ["mean score", *arms],
        [
            [f"{i / _BINS:.2f} to {(i + 1) / _BINS:.2f}", *(str(counts[arm][i]) for arm in arms)]
            for i in range(_BINS)
            if any(counts[arm][i] for arm in arms)
        ],
    )


def _bubble(arm: str, x: float, y: float, radius: float) -> Markup:
    if arm == "random":
        return rectangle(x - radius, y - radius, 2 * radius, 2 * radius, f"bubble {arm}")
    return tag("circle", {"cx": x, "cy": y, "r": radius, "class": f"bubble {arm}"})


def paired(means: Means, category: str) -> Figure:
    """Every prompt's mean score before (across) and after (up): below the diagonal it fell."""
    size, left = 264.0, 78.0
    x, y = linear(0, 1, left, left + size), linear(0, 1, 12 + size, 12)
    at = [0.0, 0.5, 1.0]
    labels = [f"{value:g}" for value in at]
    parts = axis_below(x, at, labels, y(0) + 9, "baseline mean score", 12)
    parts += [line(left, y(value), left + size, y(value), "grid") for value in at]
    parts += [text(left - 14, y(v) + 4, label, "end") for v, label in zip(at, labels, strict=True)]
    parts += [text(4, y(0.75), "mean score", class_="title"), text(4, y(0.75) + 14, "after")]
    parts.append(line(x(0), y(0), x(1), y(1), "diagonal"))
    told: list[str] = []
    rows: list[list[str]] = []
    for arm in ("random", "pruned"):
        after = means.get(arm) or {}
        both = [
            (value, after[prompt]) for prompt, value in means["baseline"].items() if prompt in after
        ]
        if not both:
            continue
        cells = Counter((round(a * _BINS), round(b * _BINS)) for a, b in both)
        for (a, b), count in sorted(cells.items()):
            radius = 2.2 + 8 * math.sqrt(count / max(cells.values()))
            parts.append(_bubble(arm, x(a / _BINS), y(b / _BINS), radius))
            rows.append([arm, f"{a / _BINS:.2f}", f"{b / _BINS:.2f}", str(count)])
        fell, rose = sum(b < a for a, b in both), sum(b > a for a, b in both)
        told.insert(0, f"{arm}: {fell} of {len(both)} prompts lower, {rose} higher")
    label = "; ".join(told)
    caption = f"{label}. Area: prompts (discs pruned, squares random). Diagonal: no change."
    drawing = picture(_WIDTH, size + 58, f"{category} prompts, {label}", parts)
    columns = ["arm", "baseline", "after", "prompts"]
    return Figure("Prompt by prompt", caption, drawing, columns, rows)


def levels(
    title: str, metric: str, rows: Sequence[tuple[str, Mapping[str, float]]], caption: str
) -> Figure:
    """A proportion or score of every row (a prompt category), all arms on one line."""
    arms = list(dict.fromkeys(arm for _, values in rows for arm in values))
    top = max([value for _, values in rows for value in values.values()] + [0.05])
    x = linear(0, top, 96, _WIDTH - 24)
    bottom = 14.0 + 30 * len(rows)
    at = ticks(0, top, 4)
    parts = axis_below(x, at, [f"{value:g}" for value in at], bottom, metric, 6)
    for row, (name, values) in enumerate(rows):
        y = 22.0 + 30 * row
        parts.append(text(4, y + 4, name))
        parts.append(line(x(min(values.values())), y, x(max(values.values())), y, "link"))
        parts += [mark(arm, x(value), y, 5) for arm, value in values.items()]
    told = "; ".join(
        f"{name}: " + ", ".join(f"{arm} {value:.3f}" for arm, value in values.items())
        for name, values in rows
    )
    table = [
        [name, *(f"{v[arm]:.3f}" if arm in v else numbers.MISSING for arm in arms)]
        for name, v in rows
    ]
    drawing = picture(_WIDTH, bottom + 38, f"{title}. {told}", parts)
    return Figure(title, caption, drawing, [metric, *arms], table)


_SYMLOG_TICKS = (-1.0, -0.1, -0.01, 0.0, 0.01, 0.1, 1.0, 10.0, 100.0)


def _forest_row(
    name: str, arms: Mapping[str, Change | None], x: Any, top: float
) -> tuple[list[Markup], list[list[str]]]:
    parts, table = [text(4, top + 14 + 7 * (len(arms) - 1), name)], []
    for index, (arm, change) in enumerate(arms.items()):
        if change is None or change["relative"] is None:
            table.append([name, arm, numbers.MISSING, numbers.MISSING])
            continue
        y = top + 10 + 15 * index
        if change["ci95"]:
            parts.append(whisker(arm, x(change["ci95"][0]), x(change["ci95"][1]), y))
        parts.append(mark(arm, x(change["relative"]), y, 4))
        table.append([name, arm, numbers.percent(change["relative"]), numbers.interval(change)])
    return parts, table


def forest(rows: Sequence[tuple[str, Mapping[str, Change | None]]]) -> Figure:
    """Relative change of each text's perplexity in every arm, with its 95% interval."""
    ends = [
        bound
        for _, arms in rows
        for change in arms.values()
        if change and change["relative"] is not None
        for bound in (change["relative"], *(change["ci95"] or ()))
    ]
    unit = 0.005
    low, high = min([-0.011, *ends]), max([0.011, *ends])
    scale = linear(symlog(low, unit), symlog(high, unit), 92, _WIDTH - 22)

    def x(value: float) -> float:
        return scale(symlog(value, unit))

    at = [value for value in _SYMLOG_TICKS if low <= value <= high]
    labels = [numbers.signed(100 * value, 0) + "%" for value in at]
    marks, table, top = [], [], 6.0
    for name, arms in rows:
        drawn, told = _forest_row(name, arms, x, top)
        marks += drawn
        table += told
        top += 12 + 15 * len(arms)
    title = "change of perplexity (linear near zero, then logarithmic)"
    parts = [*axis_below(x, at, labels, top, title, 4), line(x(0), 4, x(0), top, "zero"), *marks]
    label = "Change of perplexity. " + "; ".join(
        f"{name}, {arm}: {change}" for name, arm, change, _ in table
    )
    return Figure(
        "Perplexity of each text",
        "Marks are changes against the baseline, bars 95% intervals over windows of text. "
        "Undesired text is meant to become less likely; the others are meant to stay.",
        picture(_WIDTH, top + 38, label, parts),
        ["text", "arm", "change", "95% interval"],
        table,
    )
