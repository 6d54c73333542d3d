"""Elements of SVG: everything in them is made visible and escaped."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from sparc.display.plain import visible

_DIAMOND = ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0))
_SHAPES = {  # of styles; the others are discs
    "random": ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
    "oracle": _DIAMOND,
    "s1": _DIAMOND,
    "s2": ((0, -1.25), (1.25, 1), (-1.25, 1)),
    "s3": ((0, 1.25), (1.25, -1), (-1.25, -1)),
}


def sign(style: str, x: float, y: float, size: float = 4.5) -> Markup:
    """The dot of a style, told apart by shape as well as colour."""
    if corners := _SHAPES.get(style.split()[0]):
        return outline(
            "polygon", [(x + size * a, y + size * b) for a, b in corners], f"dot {style}"
        )
    return tag("circle", {"cx": x, "cy": y, "r": size, "class": f"dot {style}"})


def whisker(style: str, ends: Sequence[tuple[float, float]]) -> Markup:
    """An interval between two places, one beside or above the other, with end strokes."""
    (x, y), (other, height) = ends
    across, up = (0, 3) if y == height else (3, 0)
    strokes = "".join(f"M{x - across:.1f} {y - up:.1f}l{2 * across} {2 * up}" for x, y in ends)
    shape = f"M{x:.1f} {y:.1f}L{other:.1f} {height:.1f}{strokes}"
    return tag("path", {"d": shape, "class": f"whisker {style}"})


def text(x: float, y: float, content: str, anchor: str = "start", style: str = "small") -> Markup:
    """Words at (x, y); `anchor`: start, middle or end."""
    return tag("text", {"x": x, "y": y, "text-anchor": anchor, "class": style}, content)


def tag(name: str, attributes: Mapping[str, object], *children: str) -> Markup:
    """An element; attributes and children that are not Markup are made visible and escaped.

    Numbers are rounded to a tenth.
    """
    parts = Markup("").join(
        Markup(' {}="{}"').format(key, _shown(_short(value))) for key, value in attributes.items()
    )
    inside = Markup("").join(_shown(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), parts, inside)


def _short(value: object) -> object:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value


def _shown(value: object) -> Markup:
    return value if isinstance(value, Markup) else escape(visible(str(value)))


def outline(kind: str, places: Sequence[tuple[float, float]], style: str) -> Markup:
    """A polyline or polygon through `places`."""
    at = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return tag(kind, {"points": at, "class": style})
