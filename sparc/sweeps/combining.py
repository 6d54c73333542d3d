"""One statement from the same measurement at several seeds.

Seeds draw other completions for the same prompts and windows, so that their results are not
independent: a prompt that is easy at one seed is easy at the next.

Values and changes are means over the seeds. The interval of a mean change has the means of the
seeds' bounds for its own: the standard error of a mean is never more than the mean of the standard
errors, however the parts depend on each other, so that the interval is at least as wide as it must
be. More seeds steady its place; only more prompts make it much narrower. The p-value is twice the
mean of the seeds' p-values, which is valid under any dependence (Ruschendorf 1982; Vovk and Wang
2020).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Merge = Callable[[Sequence[Any]], Any]


def mean(values: Sequence[float | None]) -> float | None:
    """The mean; None where any of `values` is missing."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def combined_change(leaves: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Leaves {absolute, relative, ci95, p_value} of several seeds as one."""
    intervals = [leaf["ci95"] for leaf in leaves]
    bounds = [mean([each[end] for each in intervals]) for end in (0, 1)] if all(intervals) else None
    p = mean([leaf["p_value"] for leaf in leaves])
    return {
        "absolute": mean([leaf["absolute"] for leaf in leaves]),
        "relative": mean([leaf["relative"] for leaf in leaves]),
        "ci95": bounds,
        "p_value": p if p is None or len(leaves) == 1 else min(1.0, 2 * p),
    }


def combined_value(leaves: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Leaves {value, ...} of several seeds as one; what is the same at all of them stays."""
    same = {
        key: value
        for key, value in leaves[0].items()
        if all(leaf.get(key) == value for leaf in leaves)
    }
    return {**same, "value": mean([leaf["value"] for leaf in leaves])}


def combined(trees: Sequence[Mapping[str, Any]], merge: Merge) -> dict[str, Any]:
    """Trees of equal shape as one, leaf by leaf; None where a leaf is missing in any of them."""
    result: dict[str, Any] = {}
    for key in trees[0]:
        parts = [tree.get(key) for tree in trees]
        if any(part is None for part in parts):
            result[key] = None
        elif _is_leaf(parts[0]):
            result[key] = merge(parts)
        else:
            result[key] = combined(parts, merge)  # type: ignore[arg-type]  # no None is left
    return result


def _is_leaf(part: Any) -> bool:
    return any(not isinstance(part.get(name, {}), Mapping) for name in ("absolute", "value"))


def combined_changes(trees: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """Trees of changes as one; None where any of them is."""
    known = [tree for tree in trees if tree is not None]
    return combined(known, combined_change) if known and len(known) == len(trees) else None
