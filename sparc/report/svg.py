"""Small vector pictures: scales, axes and marks as strings of SVG.

Colours come from classes that the page's style sheet defines for light and dark.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from sparc.display.plain import visible

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Figure:
    """A chart with its caption, its text alternative and its numbers as a table."""

    title: str
    caption: str
    svg: Markup
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def tag(name: str, attributes: Mapping[str, object], *children: str) -> Markup:
    """An element; attribute values and children that are not Markup are made visible and escaped.

    Numbers are rounded to a tenth; an underscore in an attribute's name stands for a hyphen, so
    that keyword arguments can spell it.
    """
    parts = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _shown(_short(value)))
        for key, value in attributes.items()
    )
    inside = Markup("").join(_shown(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), parts, inside)


def _short(value: object) -> object:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value


def _shown(value: object) -> Markup:
    return value if isinstance(value, Markup) else escape(visible(str(value)))


def picture(width: float, height: float, label: str, parts: Iterable[str]) -> Markup:
    """A complete drawing with `label` as its text alternative."""
    box = f"0 0 {width:g} {height:g}"
    return tag("svg", {"viewBox": box, "role": "img", "aria-label": label}, *parts)


def text(x: float, y: float, content: str, anchor: str = "start", class_: str = "") -> Markup:
    """A label at (x, y); `anchor`: start, middle or end."""
    attributes: dict[str, object] = {"x": x, "y": y, "text-anchor": anchor}
    return tag("text", attributes | ({"class": class_} if class_ else {}), content)


def line(x1: float, y1: float, x2: float, y2: float, class_: str = "axis") -> Markup:
    """A straight line."""
    return tag("line", {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "class": class_})


def rectangle(x: float, y: float, width: float, height: float, class_: str) -> Markup:
    """A filled rectangle."""
    size = {"width": max(width, 0.0), "height": max(height, 0.0)}
    return tag("rect", {"x": x, "y": y, **size, "class": class_})


def mark(arm: str, x: float, y: float, size: float = 4.5) -> Markup:
    """The sign of an arm, told apart by shape as well as colour.

    Pruned is a disc, random a square, oracle a diamond, anything else (the baseline) a ring.
    """
    if arm == "random":
        return rectangle(x - size * 0.85, y - size * 0.85, 1.7 * size, 1.7 * size, f"fill {arm}")
    if arm == "oracle":
        r = size * 1.2
        points = f"{x:.1f},{y - r:.1f} {x + r:.1f},{y:.1f} {x:.1f},{y + r:.1f} {x - r:.1f},{y:.1f}"
        return tag("polygon", {"points": points, "class": f"fill {arm}"})
    kind = "fill" if arm == "pruned" else "ring"
    return tag("circle", {"cx": x, "cy": y, "r": size, "class": f"{kind} {arm}"})


def whisker(arm: str, low: float, high: float, y: float) -> Markup:
    """An interval from `low` to `high` with end strokes."""
    ends = [line(x, y - 3.5, x, y + 3.5, f"whisker {arm}") for x in (low, high)]
    return Markup("").join([line(low, y, high, y, f"whisker {arm}"), *ends])


def linear(low: float, high: float, start: float, end: float) -> Scale:
    """The straight map from [low, high] to [start, end]; the middle where low equals high."""
    span = high - low
    return lambda value: start + (end - start) * ((value - low) / span if span else 0.5)


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


def symlog(value: float, linear_below: float) -> float:
    """`value` on an axis that is linear near zero and logarithmic beyond `linear_below`."""
    return math.asinh(value / linear_below)


def axis_below(
    scale: Scale, values: Sequence[float], labels: Sequence[str], y: float, title: str, top: float
) -> list[Markup]:
    """Ticks under a plot that ends at height `y`, with grid lines up to `top` and a title."""
    parts = []
    for value, label in zip(values, labels, strict=True):
        x = scale(value)
        parts += [line(x, top, x, y, "grid"), text(x, y + 14, label, "middle")]
    parts.append(text((scale(values[0]) + scale(values[-1])) / 2, y + 30, title, "middle", "title"))
    return parts
