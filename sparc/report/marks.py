"""The marks of all charts: dots with intervals, bars and lines in one frame with a grid.

A chart is two axes and marks at the axes' own values; where these stand in the picture is decided
here. Colours come from classes that the page's style sheet defines for light and dark.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from markupsafe import Markup

from sparc.report.axes import Axis
from sparc.report.svg import outline, sign, tag, text, whisker

_WIDTH, _PAD = 400.0, 8.0
_LETTER, _LINE = 6.6, 14.0  # what a character and a line of text take


@dataclass(frozen=True)
class Figure:
    """A chart with its caption and its numbers as a table; the picture has a text alternative."""

    title: str
    caption: str
    svg: Markup
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class _Frame:
    """Where a chart's values stand in its picture."""

    x: Axis
    y: Axis
    left: float
    top: float
    right: float
    bottom: float

    def place(self, x: float, y: float) -> tuple[float, float]:
        """The place of values on the two axes."""
        across = self.left + _PAD + self.x.at(x) * (self.right - self.left - 2 * _PAD)
        return across, self.bottom - _PAD - self.y.at(y) * (self.bottom - self.top - 2 * _PAD)


class Mark(Protocol):
    """What a chart is made of."""

    def drawn(self, frame: _Frame) -> Iterator[Markup]:
        """Its elements, as they stand in `frame`."""


class Point(NamedTuple):
    """A value on each axis, with the interval of either."""

    x: float
    y: float
    across: Sequence[float] | None = None
    up: Sequence[float] | None = None
    label: str = ""
    size: float = 4.5


@dataclass(frozen=True)
class Dots:
    """Dots with intervals; `style` gives their shape as well as their colour."""

    style: str
    points: Sequence[Point]
    joined: bool = False
    shift: float = 0.0
    """To the right, so that the intervals of several series stand beside each other."""

    def places(self, frame: _Frame) -> list[tuple[float, float]]:
        """Where the dots stand."""
        at = [frame.place(point.x, point.y) for point in self.points]
        return [(x + self.shift, y) for x, y in at]

    def drawn(self, frame: _Frame) -> Iterator[Markup]:
        """The line through the dots, their intervals, the dots."""
        places = self.places(frame)
        if self.joined:
            yield outline("polyline", places, f"run {self.style}")
        for point, (x, y) in zip(self.points, places, strict=True):
            if point.across:
                yield whisker(self.style, [(frame.place(e, point.y)[0], y) for e in point.across])
            if point.up:
                yield whisker(self.style, [(x, frame.place(point.x, e)[1]) for e in point.up])
        for point, (x, y) in zip(self.points, places, strict=True):
            yield sign(self.style, x, y, point.size)


@dataclass(frozen=True)
class Bars:
    """Filled boxes (left, right, low, high); none is too thin to be seen."""

    style: str
    boxes: Sequence[tuple[float, float, float, float]]

    def drawn(self, frame: _Frame) -> Iterator[Markup]:
        """The boxes."""
        for left, right, low, high in self.boxes:
            (x, base), (end, top) = frame.place(left, low), frame.place(right, high)
            width, height = max(end - x - 0.8, 1.5), max(base - top, 1.5)
            box = {"x": x + 0.4, "y": base - height, "width": width, "height": height}
            yield tag("rect", {**box, "class": f"bar {self.style}"})


@dataclass(frozen=True)
class Line:
    """A line through `corners`, or the area inside; `label` stands beside its last corner."""

    style: str
    corners: Sequence[tuple[float, float]]
    label: str = ""
    anchor: str = "start"
    filled: bool = False

    def drawn(self, frame: _Frame) -> Iterator[Markup]:
        """The line and its label."""
        places = [frame.place(x, y) for x, y in self.corners]
        yield outline("polygon" if self.filled else "polyline", places, f"line {self.style}")
        if self.label:
            x, y = places[-1]
            yield text(x + (6 if self.anchor == "start" else -6), y + 4, self.label, self.anchor)


def drawing(label: str, x: Axis, y: Axis, *marks: Mark) -> Markup:
    """A chart of `marks`, with `label` as its text alternative."""
    left = 12 + _LETTER * max((len(told) for _, told in y.ticks), default=0)
    top = 20.0 if y.title else 4.0
    frame = _Frame(x, y, left, top, _WIDTH - 16, top + y.length)
    box = f"0 0 {_WIDTH:g} {frame.bottom + (38 if x.title else 22):g}"
    head = {"viewBox": box, "role": "img", "aria-label": label}
    dots = [mark for mark in marks if isinstance(mark, Dots)]
    return tag("svg", head, *_grid(frame), *_all(marks, frame), *_labels(frame, dots))


def inline(axis: Axis, *marks: Mark) -> Markup:
    """A small drawing for a table's cell, whose neighbours say the same; y is 0 to 1."""
    box = {"viewBox": "0 0 110 18", "class": "inline", "aria-hidden": "true", "focusable": "false"}
    return tag("svg", box, *_all(marks, _Frame(axis, Axis(0, 1), 0, -7, 110, 25)))


def _all(marks: Sequence[Mark], frame: _Frame) -> Iterator[Markup]:
    return (part for mark in marks for part in mark.drawn(frame))


def sample(style: str) -> Markup:
    """A style's dot alone, for a legend."""
    return tag("svg", {"viewBox": "0 0 14 14", "aria-hidden": "true"}, sign(style, 7, 7))


def _grid(frame: _Frame) -> Iterator[Markup]:
    """Lines and labels of the ticks that have room, and the titles; zero stands out."""
    left, top, right, bottom = frame.left, frame.top, frame.right, frame.bottom
    taken: list[tuple[float, float]] = []
    for value, told in frame.x.ticks:
        at, half = frame.place(value, frame.y.low)[0], _LETTER * len(told) / 2 + 3
        if all(abs(at - other) > half + room for other, room in taken):
            taken.append((at, half))
            yield _tick_line(frame.x, value, [(at, top), (at, bottom)])
            yield text(at, bottom + _LINE, told, "middle", "")
    taken = []
    for value, told in frame.y.ticks:
        at = frame.place(frame.x.low, value)[1]
        if all(abs(at - other) > _LINE for other, _ in taken):
            taken.append((at, _LINE))
            yield _tick_line(frame.y, value, [(left, at), (right, at)])
            yield text(left - 4, at + 4, told, "end", "")
    yield text((left + right) / 2, bottom + 30, frame.x.title, "middle", "title")
    yield text(4, 12, frame.y.title, "start", "title")


def _tick_line(axis: Axis, value: float, ends: Sequence[tuple[float, float]]) -> Markup:
    style = "zero" if value == 0 else "grid"
    return outline("polyline", ends, f"line {style}") if axis.grid else Markup("")


def _labels(frame: _Frame, series: Sequence[Dots]) -> Iterator[Markup]:
    """Labels beside their dots; one without free room would be read as another dot's: left out."""
    marked = [
        (*place, point.label)
        for each in series
        for place, point in zip(each.places(frame), each.points, strict=True)
        if point.label
    ]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y, _ in marked]
    for x, y, told in marked:
        width = _LETTER * len(told)
        for left, base in ((x + 6, y - 5), (x - 6 - width, y - 5), (x - width / 2, y - 8)):
            box = (left, base - 9, left + width, base)
            inside = box[1] >= frame.top and box[2] <= frame.right
            if inside and not any(_overlap(box, each) for each in taken):
                taken.append(box)
                yield text(left, base, told)
                break


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
