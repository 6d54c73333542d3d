"""The comparison as figures: every set of runs, and pairs layer by layer."""

from collections.abc import Sequence

from sparc.display import numbers
from sparc.report.comparison import Comparison, letters
from sparc.report.svg import Figure, axis_below, line, linear, mark, picture, rectangle, text, ticks

_WIDTH = 420.0
_MOST_LAYERED = 6  # pairs that get a picture of their own


def p_value(p: float) -> str:
    """A p-value for reading."""
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"


def rho(value: float | None) -> str:
    """A rank correlation for reading."""
    return numbers.MISSING if value is None else numbers.signed(value, 3)


def _bars(rows: Sequence[tuple[str, int, float]], left: float, title: str, label: str) -> Figure:
    """A bar a row for what is shared, and a square where chance would put it."""
    top = max([max(shared, expected) for _, shared, expected in rows] + [1.0])
    x, bottom = linear(0, top, left, _WIDTH - 34), 8.0 + 24 * len(rows)
    at = ticks(0, top, 5)
    parts = axis_below(x, at, [f"{value:g}" for value in at], bottom, "shared neurons", 4)
    for row, (name, shared, expected) in enumerate(rows):
        y = 18.0 + 24 * row
        parts += [text(4, y + 4, name), rectangle(x(0), y - 7, x(shared) - x(0), 14, "pruned")]
        parts += [text(max(x(shared), x(expected)) + 9, y + 4, str(shared), class_="small")]
        parts.append(mark("random", x(expected), y, 4))
    parts.append(line(x(0), 4, x(0), bottom))
    told = "; ".join(f"{n}: {shared}, by chance {chance:.1f}" for n, shared, chance in rows)
    caption = "Bar: neurons in all of the selections. Square: expected of random selections."
    drawing = picture(_WIDTH, bottom + 38, f"{title}. {told}", parts)
    table = [[name, str(shared), f"{expected:.2f}"] for name, shared, expected in rows]
    return Figure(title, caption, drawing, [label, "shared", "by chance"], table)


def _between_runs(found: Sequence[Comparison]) -> Figure:
    rows = [(letters(e.members), e.overlap.shared, e.overlap.expected) for e in found]
    longest = max(len(name) for name, _, _ in rows)
    return _bars(rows, 14.0 + 8 * longest, "What the runs share", "runs")


def _by_layer(each: Comparison) -> Figure:
    rows = [(f"layer {e.layer}", e.shared, e.expected) for e in each.overlap.per_layer]
    return _bars(rows, 70.0, f"{letters(each.members)}, layer by layer", "layer")


def comparison_figures(found: Sequence[Comparison]) -> list[Figure]:
    """All sets of runs in one figure, then the first pairs layer by layer."""
    pairs = [each for each in found if len(each.members) == 2]
    return [_between_runs(found), *(_by_layer(each) for each in pairs[:_MOST_LAYERED])]
