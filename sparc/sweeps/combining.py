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

from collections.abc import Mapping, Sequence
from typing import Any

from sparc.runs.tree import merged


def mean(values: Sequence[float | None]) -> float | None:
    """The mean; None where any of `values` is missing."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


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
    first, *others = leaves
    same = {k: v for k, v in first.items() if all(leaf.get(k) == v for leaf in others)}
    return {**same, "value": mean([leaf["value"] for leaf in leaves])}


def combined_changes(trees: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """Trees of changes as one; None where any of them is."""
    known = [tree for tree in trees if tree is not None]
    return merged(known, combined_change) if len(known) == len(trees) else None
