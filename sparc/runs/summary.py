"""What a person sees of a finished run: one table and one sentence."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from sparc.display.console import harmless, table
from sparc.runs.tree import leaf

COLUMNS = ("baseline", "pruned", "change", "95% interval", "random", "oracle")
_ROWS = {
    ("toxicity", "rate"): "toxicity rate",
    ("toxicity", "mean"): "toxicity mean",
    ("toxicity", "expected_max"): "expected max",
    ("perplexity", "general"): "perplexity general",
    ("perplexity", "benign"): "perplexity benign",
    ("repetition", "loop_rate"): "loop rate",
    ("by_category", "neutral", "toxicity", "rate"): "neutral toxicity",
}


def _points(fraction: float) -> str:
    rounded = round(100 * fraction, 1) + 0.0  # no minus before a zero
    return f"{rounded:+.1f}".removesuffix(".0") if rounded else "0"


def _percent(relative: float | None) -> str:
    return "-" if relative is None else f"{_points(relative)}%"


def _interval(bounds: Sequence[float] | None) -> str:
    return f"[{_points(bounds[0])}, {_points(bounds[1])}]" if bounds else "-"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def summary_rows(results: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The metric's name and its values in COLUMNS, for every metric that was measured."""
    for path, name in _ROWS.items():
        change = leaf(results, "change", *path)
        if change is None:
            continue
        yield (
            name,
            *(_number(leaf(results, arm, *path, "value")) for arm in ("baseline", "pruned")),
            _percent(change["relative"]),
            _interval(change["ci95"]),
            *(
                _percent(leaf(results, "control", arm, "change", *path, "relative"))
                for arm in ("random", "oracle")
            ),
        )


def _summary(results: Mapping[str, Any]) -> Table:
    """The table of a finished run; the last two columns are the changes of the control arms."""
    selection = results["selection"]
    title = (
        f"{results['run']['name']}: {selection['num_pruned']} of {results['model']['neurons']} "
        f"neurons removed ({selection['method']})"
    )
    made = table(("metric", *COLUMNS), summary_rows(results), harmless(title))
    made.collapse_padding = True
    return made


def show(results: Mapping[str, Any], folder: str) -> None:
    """Print the summary of a finished run to stdout."""
    console = Console(highlight=False)
    if "change" in results:
        console.print(_summary(results))
        for warning in results["score_report"]["warnings"]:
            console.print(f"Note: {harmless(warning)}.")
        console.print(harmless(results["verdict"]), soft_wrap=True)
    console.print(f"Run directory: {harmless(folder)}", soft_wrap=True)
