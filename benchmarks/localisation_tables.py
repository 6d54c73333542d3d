"""Tables of what was measured of the methods, with the spread over training seeds."""

from collections.abc import Callable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from measuring import markdown

TIMES_CHANCE = 5
"""A method whose recall is below so many times chance is reported as failing."""

Found = Mapping[str, Mapping[str, Any]]
"""Training seed -> {baseline, chance, rows: method -> {recall, average precision, points}}."""


def of_methods(found: Found, amounts: Sequence[int]) -> str:
    """Localisation and rude rate by amount, then perplexity and loops at the largest amount."""
    names = list(next(iter(found.values()))["rows"])
    chance = mean(each["chance"] for each in found.values())
    columns = ["ranking", "recall", "average precision", *(f"rude, {n}" for n in amounts), "finds"]
    lines = [["baseline", None, None, *[_baseline(found, "rude rate")] * len(amounts), None]]
    for name in names:
        recall = _values(found, name, lambda row, _b: row["recall"])
        precision = _values(found, name, lambda row, _b: row["average precision"])
        rates = [_spread(_points(found, name, n, "rude rate")) for n in amounts]
        verdict = "yes" if mean(recall) >= TIMES_CHANCE * chance else "fails"
        lines.append([name, _spread(recall), _spread(precision), *rates, verdict])
    return "\n".join(
        [
            f"Mean ± standard deviation over {len(found)} training seeds. Chance: recall and "
            f"average precision {chance:.3f}; below {TIMES_CHANCE} times chance in recall "
            f"({TIMES_CHANCE * chance:.3f}) a ranking fails. Floor of the rude rate: the oracle's.",
            "",
            markdown(columns, lines),
            "",
            _costs(found, names, amounts),
        ]
    )


def _costs(found: Found, names: Sequence[str], amounts: Sequence[int]) -> str:
    """Relative change of the three perplexities, and loops, for each method and amount."""
    columns = ["ranking", "removed", "general", "benign", "undesired", "loops", "loops, neutral"]
    lines = []
    for name in names:
        for amount in amounts:
            texts = [
                _spread([100 * v for v in _changes(found, name, amount, text)], "+.1f", "%")
                for text in ("general", "benign", "undesired")
            ]
            loops = [
                _spread(_points(found, name, amount, text), ".3f")
                for text in ("loops", "loops, neutral")
            ]
            if _points(found, name, amount, "loops"):
                lines.append([name, amount, *texts, *loops])
    return markdown(columns, lines)


def of_rules(found: Found, amounts: Sequence[int]) -> str:
    """Recall, precision and effect per neuron of methods and rules, best effect first."""
    names = [n for n in next(iter(found.values()))["rows"] if n != "oracle"]
    lines = [
        [
            name,
            _spread(_values(found, name, lambda row, _b: row["recall"])),
            _spread(_values(found, name, lambda row, _b: row["average precision"])),
            *(_spread(_points(found, name, n, "rude rate")) for n in amounts),
            _spread(effects(found, name, amounts)),
        ]
        for name in sorted(names, key=lambda n: -mean(effects(found, n, amounts)))
    ]
    rates = (f"rude, {n}" for n in amounts)
    return markdown(["ranking", "recall", "average precision", *rates, "effect"], lines)


def effects(found: Found, name: str, amounts: Sequence[int]) -> list[float]:
    """For each seed the relative fall of the rude rate, mean over `amounts`."""
    falls = [_changes(found, name, amount, "rude rate") for amount in amounts]
    return [-mean(each) for each in zip(*falls, strict=True)]


def best_rule(
    found: Found, rules: Sequence[str], methods: Sequence[str], amounts: Sequence[int]
) -> str:
    """The rule whose worse side, recall or effect, is best relative to the best single method."""

    def recall(name: str) -> float:
        return mean(_values(found, name, lambda row, _b: row["recall"]))

    def effect(name: str) -> float:
        return mean(effects(found, name, amounts))

    best_recall, best_effect = max(map(recall, methods)), max(map(effect, methods))

    def worse_side(name: str) -> float:
        return min(recall(name) / best_recall, effect(name) / best_effect)

    return max(rules, key=worse_side)


def _values(found: Found, name: str, pick: Callable[[Any, Any], float]) -> list[float]:
    return [pick(each["rows"][name], each["baseline"]) for each in found.values()]


def _points(found: Found, name: str, amount: int, number: str) -> list[float]:
    points = [each["rows"][name]["points"].get(amount) for each in found.values()]
    return [point[number] for point in points if point is not None]


def _changes(found: Found, name: str, amount: int, number: str) -> list[float]:
    baselines = [each["baseline"][number] for each in found.values()]
    points = _points(found, name, amount, number)
    if not points:
        return []
    # no baseline is zero but in a benchmark that is too small to say anything
    return [p / b - 1 if b else 0.0 for p, b in zip(points, baselines, strict=True)]


def _baseline(found: Found, number: str) -> str:
    return _spread([each["baseline"][number] for each in found.values()])


def _spread(values: Sequence[float], form: str = ".2f", unit: str = "") -> str:
    if not values:
        return "-"
    deviation = f" ± {stdev(values):{form.lstrip('+')}}" if len(values) > 1 else ""
    return f"{mean(values):{form}}{deviation}{unit}"
