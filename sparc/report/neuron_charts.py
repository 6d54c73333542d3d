"""Charts about neurons: where the removed ones lie, and where the cut falls."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sparc.report.svg import (
    Figure,
    Scale,
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
)

_WIDTH = 420.0


def per_layer(counts: Sequence[int]) -> Figure:
    """How many neurons were removed from each layer."""
    highest = max([*counts, 1])
    step = min((_WIDTH - 60) / len(counts), 64.0)
    y = linear(0, highest, 180, 14)
    at = [value for value in ticks(0, highest, 4) if value == int(value)]
    parts = [line(44, y(v), 44 + step * len(counts), y(v), "grid") for v in at]
    parts += [text(38, y(v) + 4, f"{v:.0f}", "end") for v in at]
    every = max(1, -(-len(counts) // 12))
    for layer, count in enumerate(counts):
        x = 44 + step * layer
        gap = min(4.0, step * 0.15)
        parts.append(rectangle(x + gap, y(count), step - 2 * gap, y(0) - y(count), "pruned"))
        if layer % every == 0:
            parts.append(text(x + step / 2, 194, str(layer), "middle"))
    parts.append(text(44 + step * len(counts) / 2, 210, "layer", "middle", "title"))
    told = ", ".join(f"layer {layer}: {count}" for layer, count in enumerate(counts))
    return Figure(
        "Neurons removed from each layer",
        f"{sum(counts)} neurons of {len(counts)} layers, ranked over all layers at once.",
        picture(_WIDTH, 218, f"Neurons removed from each layer. {told}", parts),
        ["layer", "neurons removed"],
        [[str(layer), str(count)] for layer, count in enumerate(counts)],
    )


def contrast_distribution(contrast: Mapping[str, Any]) -> Figure:
    """The contrast of all neurons as a histogram; those below the cut were removed.

    contrast: `edges` (ascending), `counts`, `cut` (the highest contrast removed) and `unit`, below
    which the axis is linear.
    """
    edges, counts, unit, cut = (contrast[key] for key in ("edges", "counts", "unit", "cut"))
    scale = linear(symlog(edges[0], unit), symlog(edges[-1], unit), 44, _WIDTH - 12)

    def x(value: float) -> float:
        return scale(symlog(value, unit))

    bins = [(low, high, n) for low, high, n in zip(edges, edges[1:], counts, strict=False) if n]
    at, labels = _contrast_ticks(edges[0], edges[-1], unit, x)
    parts = axis_below(x, at, labels, 180, "contrast: general minus undesired relevance", 180)
    parts += _contrast_bars(bins, x, cut, max([*counts, 1]))
    parts += [line(x(cut), 10, x(cut), 180, "cut"), text(x(cut) - 5, 20, "removed", "end")]
    below = sum(count for _, high, count in bins if high <= cut)
    label = f"Contrast of {sum(counts)} neurons: {below} lie below the cut at {cut:.3g}"
    return Figure(
        "Where the cut falls",
        "All neurons by contrast; both axes linear near zero, then logarithmic. Those left of the "
        "dashed line have the lowest contrast (most relevant to undesired text) and were removed.",
        picture(_WIDTH, 218, label, parts),
        ["contrast", "neurons"],
        [[f"{low:.3g} to {high:.3g}", str(count)] for low, high, count in bins],
    )


def _contrast_bars(
    bins: Sequence[tuple[float, float, int]], x: Scale, cut: float, highest: int
) -> list[Markup]:
    height = linear(0, symlog(highest, 1), 180, 16)
    parts = []
    for value in (10**power for power in range(8) if 10**power <= highest):
        y = height(symlog(value, 1))
        parts += [line(44, y, _WIDTH - 12, y, "grid")]
        parts += [text(39, y + 4, f"{value:,}", "end", "small")]
    for low, high, count in bins:
        y, kind = height(symlog(count, 1)), "pruned" if high <= cut else "baseline"
        parts.append(rectangle(x(low) + 0.4, y, x(high) - x(low) - 0.8, 180 - y, kind))
    return parts


def _contrast_ticks(
    low: float, high: float, unit: float, x: Scale
) -> tuple[list[float], list[str]]:
    """Powers of ten and zero, as far as their labels do not touch."""
    powers = [10.0**k for k in range(-12, 7) if 10.0**k >= unit]
    wanted = sorted([0.0, *powers, *(-p for p in powers)], key=abs)
    kept: list[float] = []
    for value in wanted:
        if low <= value <= high and all(abs(x(value) - x(other)) > 38 for other in kept):
            kept.append(value)
    kept.sort()
    return kept, [f"{value:g}".replace("-", "\u2212") for value in kept]


def seed_agreement(neurons: Sequence[Mapping[str, Any]]) -> Figure:
    """The contrast of the first removed neurons in every reference seed.

    neurons: records of neurons.json that have a card.
    """
    rows = []
    for neuron in neurons:
        by_seed: dict[int, dict[str, float]] = {}
        for entry in neuron["card"]["scores"]:
            by_seed.setdefault(entry["seed"], {})[entry["set"]] = entry["score"]
        values = [sets["general"] - sets["undesired"] for _, sets in sorted(by_seed.items())]
        rows.append((f"{neuron['layer']}.{neuron['index']}", values))
    low = min(value for _, values in rows for value in values)
    high = max(0.0, *(value for _, values in rows for value in values))
    x, bottom = linear(low, high, 70, _WIDTH - 18), 10.0 + 17 * len(rows)
    at = ticks(low, high, 4)
    labels = [f"{value:.6g}".replace("-", "\u2212") for value in at]
    parts = axis_below(x, at, labels, bottom, "contrast", 4)
    for row, (name, values) in enumerate(rows):
        y = 14.0 + 17 * row
        parts += [text(4, y + 4, name), line(x(min(values)), y, x(max(values)), y, "link")]
        parts += [mark("pruned", x(value), y, 3.2) for value in values]
    parts.append(line(x(0), 4, x(0), bottom, "zero") if low <= 0 <= high else tag("g", {}))
    told = "; ".join(f"{n}: " + ", ".join(f"{v:.3g}" for v in values) for n, values in rows)
    return Figure(
        "The same neurons in every reference seed",
        "Rows are removed neurons (layer.index), dots their contrast in each reference seed.",
        picture(_WIDTH, bottom + 38, f"Contrast of each neuron by reference seed. {told}", parts),
        ["neuron", *(f"seed {i}" for i in range(max(len(v) for _, v in rows)))],
        [[name, *(f"{value:.4g}" for value in values)] for name, values in rows],
    )
