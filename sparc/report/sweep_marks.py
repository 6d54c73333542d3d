"""Axes and marks of a sweep's charts: one frame, relative changes in percent, a mark a method."""

from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup

from sparc.display import numbers
from sparc.report.svg import Scale, line, linear, symlog, tag, text, ticks

SHAPES = 5  # marks and colours of the style sheet; further methods repeat them with broken lines
WIDTH, TOP, BOTTOM, LEFT, RIGHT = 376.0, 12.0, 246.0, 52.0, 366.0
_WIDE = 3.0  # changes beyond +300% go on an axis that is logarithmic away from zero
_UNIT = 0.1
_LOG_TICKS = (-1.0, -0.1, 0.0, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e6)


def sign(style: str, x: float, y: float, size: float = 4.5) -> Markup:
    """The mark of a method, told apart by shape as well as colour."""
    kind, r = style.split()[0], size * 1.25
    corners = {
        "s1": [(0, -r), (r, 0), (0, r), (-r, 0)],
        "s2": [(0, -r), (r, r * 0.8), (-r, r * 0.8)],
        "s3": [(0, r), (r, -r * 0.8), (-r, -r * 0.8)],
    }.get(kind)
    if corners:
        at = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
        return tag("polygon", {"points": at, "class": f"dot {style}"})
    hollow = " hollow" if kind == "s4" else ""
    return tag("circle", {"cx": x, "cy": y, "r": size, "class": f"dot {style}{hollow}"})


def change_axis(ends: Sequence[float], start: float, end: float) -> tuple[Scale, list[float]]:
    """A scale for relative changes that holds zero, and where its ticks are."""
    low, high = min([-0.01, *ends]), max([0.01, *ends])
    pad = 0.04 * (high - low)
    if high <= _WIDE:
        low, high = max(low - pad, -1.06), high + pad
        return linear(low, high, start, end), ticks(low, high, 5)
    bent = linear(symlog(low, _UNIT) - 0.1, symlog(high, _UNIT) + 0.1, start, end)
    return (lambda value: bent(symlog(value, _UNIT))), [v for v in _LOG_TICKS if low <= v <= high]


def percent(value: float, step: float) -> str:
    """A change in percent with the digits that `step` needs."""
    digits = next((d for d in range(3) if abs(round(100 * step, d) - 100 * step) < 1e-9), 3)
    return numbers.signed(100 * value, digits) + "%"


def percent_labels(at: Sequence[float]) -> list[str]:
    """The changes `at` in percent, with the digits that their distance needs."""
    steps = [abs(b - a) for a, b in pairwise(at)]
    return [percent(value, min(steps, default=1.0)) for value in at]


def axis_left(y: Scale, at: Sequence[float]) -> list[Markup]:
    """Labelled lines at the changes `at`; that at zero is no change."""
    parts = []
    for value, label in zip(at, percent_labels(at), strict=True):
        class_ = "zero" if value == 0 else "grid"
        parts += [line(LEFT, y(value), RIGHT, y(value), class_)]
        parts.append(text(LEFT - 6, y(value) + 4, label, "end"))
    return parts


def amounts_axis(amounts: Sequence[int]) -> tuple[Scale, list[int]]:
    """Logarithmic but for zero; ticks at measured amounts, as many as have room."""
    bent = linear(symlog(amounts[0], 1), symlog(amounts[-1], 1), LEFT + 18, RIGHT - 16)

    def x(amount: float) -> float:
        return bent(symlog(amount, 1))

    shown: list[int] = []
    for amount in amounts:
        if not shown or x(amount) - x(shown[-1]) >= 8 * len(f"{amount:,}") + 6:
            shown.append(amount)
    return x, shown


def upright(style: str, x: float, low: float, high: float) -> Markup:
    """An interval from `low` to `high` with end strokes, standing at `x`."""
    lines = [(x, low, x, high), (x - 3, low, x + 3, low), (x - 3, high, x + 3, high)]
    return Markup("").join(line(*ends, f"bar {style}") for ends in lines)


def lying(style: str, y: float, low: float, high: float) -> Markup:
    """An interval from `low` to `high` with end strokes, lying at `y`."""
    lines = [(low, y, high, y), (low, y - 3, low, y + 3), (high, y - 3, high, y + 3)]
    return Markup("").join(line(*ends, f"bar {style}") for ends in lines)


def path_line(style: str, corners: Sequence[tuple[float, float]]) -> Markup:
    """A line through `corners`."""
    at = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    return tag("polyline", {"points": at, "class": f"run {style}"})


def labelled(marks: Sequence[tuple[float, float, str]]) -> list[Markup]:
    """Small labels beside marks at (x, y); those without free room beside their mark are left out.

    A label that had to stand over another mark would be read as that mark's.
    """
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y, _ in marks]
    parts = []
    for x, y, content in marks:
        width = 6.2 * len(content)
        for left, base in ((x + 6, y - 5), (x - 6 - width, y - 5), (x - width / 2, y - 8)):
            box = (left, base - 9, left + width, base)
            if box[1] >= TOP and box[2] <= RIGHT and not any(_overlap(box, each) for each in taken):
                taken.append(box)
                parts.append(text(left, base, content, "start", "small"))
                break
    return parts


def _overlap(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
