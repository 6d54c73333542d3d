"""The metrics of results.json as cards and table rows."""

from collections.abc import Mapping
from typing import Any

from sparc.display import numbers
from sparc.report.axes import changes, ends_of
from sparc.report.charts import interval_bar
from sparc.runs.tree import Path, is_metric, leaf, leaves

_Results = Mapping[str, Any]
GENERAL = ("perplexity", "general")
_FIRST: tuple[Path, ...] = (
    ("toxicity", "rate"),
    GENERAL,
    ("perplexity", "benign"),
    ("toxicity", "expected_max"),
    ("toxicity", "mean"),
    ("repetition", "loop_rate"),
)
_NOTES = {
    "rate": "share of completions that score {threshold:g} or more; meant to fall",
    "mean": "mean score of the completions; meant to fall",
    "expected_max": "mean over prompts of the highest score; meant to fall",
    "loop_rate": "share of completions that repeat themselves; meant to stay low",
}
_CHANGES = {
    "pruned": ("change",),
    "random": ("control", "random", "change"),
    "oracle": ("control", "oracle", "change"),
}


def primary_of(results: _Results) -> Path:
    """The path of the metric that decides."""
    return tuple(results["evaluation"]["primary_metric"].split("."))


def name(path: Path) -> str:
    """A metric's name as people read it."""
    return " ".join(path).replace("_", " ")


def arm_changes(results: _Results, path: Path) -> dict[str, Any]:
    """arm -> leaf of its change against the baseline, for the arms that this run has."""
    trees = {arm: leaf(results, *where) for arm, where in _CHANGES.items()}
    return {arm: leaf(tree, *path) for arm, tree in trees.items() if tree is not None}


def before_and_after(baseline: Any, pruned: Any, path: Path) -> list[str]:
    """A metric's value in two trees."""
    return [numbers.quantity(path, leaf(tree, *path, "value")) for tree in (baseline, pruned)]


def change_and_interval(change: Any, path: Path) -> list[str]:
    """A metric's change in a tree, and its interval."""
    found = leaf(change, *path)
    return [numbers.changed(path, found), numbers.interval(found)]


def cards(results: _Results) -> list[dict[str, Any]]:
    """The cards of the first screen, the metric that decides first; those that were measured."""
    paths = dict.fromkeys([primary_of(results), *_FIRST])
    return [_card(results, path) for path in paths if leaf(results["change"], *path) is not None]


def _card(results: _Results, path: Path) -> dict[str, Any]:
    """One metric: its value before and after, and every arm's picture, change and interval."""
    arms = arm_changes(results, path)
    axis = changes(ends_of(arms.values()))
    note = _NOTES.get(path[-1], "").format(threshold=results["evaluation"]["threshold"])
    if path[0] == "perplexity":
        tokens = leaf(results["baseline"], *path, "tokens")
        note = f"how unexpected {path[-1]} text is; meant to stay"
        note += f" ({tokens:,} tokens)" if tokens else ""
    before, after = before_and_after(results["baseline"], results["pruned"], path)
    return {
        "title": name(path),
        "note": note,
        "before": before,
        "after": after,
        "arms": [
            (
                arm,
                interval_bar(arm, change, axis),
                numbers.changed(path, change),
                numbers.interval(change),
            )
            for arm, change in arms.items()
        ],
    }


def all_rows(results: _Results) -> list[list[str]]:
    """Every metric: name, baseline, pruned, change, interval, p, random change, oracle change."""
    rows = []
    for path, own in leaves(results["change"], is_metric):
        arms = arm_changes(results, path)
        rows.append(
            [
                name(path),
                *before_and_after(results["baseline"], results["pruned"], path),
                *change_and_interval(results["change"], path),
                numbers.chance(own),
                *(numbers.changed(path, arms.get(arm)) for arm in ("random", "oracle")),
            ]
        )
    return rows


def curve_rows(results: _Results) -> list[list[str]]:
    """One row an amount of neurons: value, change and interval of the two main metrics."""
    rows = []
    for point in results.get("curve", []):
        row = [str(point["num_neurons"])]
        for path in (primary_of(results), GENERAL):
            row.append(numbers.quantity(path, leaf(point["pruned"], *path, "value")))
            row += change_and_interval(point["change"], path)
        rows.append(row)
    return rows


def levels(results: _Results, path: Path) -> dict[str, float]:
    """arm -> value of the metric at `path`; controls from the baseline and their change."""
    before = leaf(results["baseline"], *path, "value")
    if before is None:
        return {}
    found = {
        arm: before + change["absolute"]
        for arm, change in arm_changes(results, path).items()
        if change is not None and change["absolute"] is not None
    }
    return {"baseline": before, **found}
