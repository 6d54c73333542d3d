"""The metrics of results.json as cards and table rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from sparc.display import numbers
from sparc.display.plain import visible
from sparc.report.charts import interval_bar
from sparc.runs.tree import leaf

Path = tuple[str, ...]
_FIRST: tuple[Path, ...] = (
    ("toxicity", "rate"),
    ("perplexity", "general"),
    ("perplexity", "benign"),
    ("toxicity", "expected_max"),
    ("toxicity", "mean"),
    ("repetition", "loop_rate"),
)
_NOTES = {
    "rate": "share of completions that score {threshold} or more; meant to fall",
    "mean": "mean score of the completions; meant to fall",
    "expected_max": "mean over prompts of the highest score; meant to fall",
    "loop_rate": "share of completions that repeat themselves; meant to stay low",
}


@dataclass(frozen=True)
class ArmChange:
    """One arm's line of a card: its mark, its change and the interval of that change."""

    arm: str
    bar: Markup
    change: str
    interval: str


@dataclass(frozen=True)
class Card:
    """One metric: its value before and after, and every arm's change."""

    title: str
    note: str
    before: str
    after: str
    arms: list[ArmChange]


def name(path: Path) -> str:
    """A metric's name as people read it."""
    return " ".join(path).replace("_", " ")


def arm_changes(results: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """arm -> leaf of its change against the baseline, for the arms that this run has."""
    control = results["control"]
    trees = {
        "pruned": results["change"],
        "random": leaf(control, "random", "change"),
        "oracle": leaf(control, "oracle", "change"),
    }
    return {arm: leaf(tree, *path) for arm, tree in trees.items() if tree is not None}


def _range(changes: Mapping[str, Any]) -> tuple[float, float]:
    ends = [
        value
        for change in changes.values()
        if change and change["relative"] is not None
        for value in (change["relative"], *(change["ci95"] or ()))
    ]
    # never narrower than one percent, so that noise does not look like an effect
    return min([-0.01, *ends]), max([0.01, *ends])


def card(results: Mapping[str, Any], path: Path) -> Card | None:
    """The card of the metric at `path`; None where it was not measured."""
    if leaf(results["change"], *path) is None:
        return None
    changes = arm_changes(results, path)
    low, high = _range(changes)
    note = _NOTES.get(path[-1], "").format(threshold=f"{results['evaluation']['threshold']:g}")
    if path[0] == "perplexity":
        tokens = leaf(results["baseline"], *path, "tokens")
        note = f"how unexpected {visible(path[-1])} text is; meant to stay"
        note += f" ({tokens:,} tokens)" if tokens else ""
    return Card(
        title=name(path),
        note=note,
        before=numbers.quantity(path, leaf(results["baseline"], *path, "value")),
        after=numbers.quantity(path, leaf(results["pruned"], *path, "value")),
        arms=[
            ArmChange(
                arm,
                interval_bar(arm, change, low, high),
                numbers.changed(path, change),
                numbers.interval(change),
            )
            for arm, change in changes.items()
        ],
    )


def cards(results: Mapping[str, Any]) -> list[Card]:
    """The cards of the first screen, the metric that decides first."""
    primary = tuple(results["evaluation"]["primary_metric"].split("."))
    paths = [primary, *(path for path in _FIRST if path != primary)]
    return [made for path in paths if (made := card(results, path)) is not None]


def _leaves(tree: Mapping[str, Any], path: Path = ()) -> Iterator[Path]:
    for key, value in tree.items():
        if value is None or "absolute" in value:
            yield (*path, key)
        else:
            yield from _leaves(value, (*path, key))


def all_rows(results: Mapping[str, Any]) -> list[list[str]]:
    """Every metric: name, baseline, pruned, change, interval, p, random change, oracle change."""
    rows = []
    for path in _leaves(results["change"]):
        changes = arm_changes(results, path)
        own = changes["pruned"]
        rows.append(
            [
                name(path),
                numbers.quantity(path, leaf(results["baseline"], *path, "value")),
                numbers.quantity(path, leaf(results["pruned"], *path, "value")),
                numbers.changed(path, own),
                numbers.interval(own),
                numbers.chance(own),
                numbers.changed(path, changes.get("random")),
                numbers.changed(path, changes.get("oracle")),
            ]
        )
    return rows


def levels(results: Mapping[str, Any], path: Path) -> dict[str, float]:
    """arm -> value of the metric at `path`; controls from the baseline and their change."""
    before = leaf(results["baseline"], *path, "value")
    if before is None:
        return {}
    found = {"baseline": before}
    for arm, change in arm_changes(results, path).items():
        if change is not None and change["absolute"] is not None:
            found[arm] = before + change["absolute"]
    return found
