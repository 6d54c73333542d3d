"""What a person sees: progress while it runs, one table and one sentence at the end."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

_ROWS = (
    ("toxicity", "rate"),
    ("toxicity", "mean"),
    ("toxicity", "expected_max"),
    ("perplexity", "general"),
    ("perplexity", "benign"),
    ("repetition", "loop_rate"),
)


@contextlib.contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, silent where that is no terminal; yields `advance(count)`."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bars:
        task = bars.add_task(description, total=total)
        yield lambda count: bars.advance(task, count)


def leaf(tree: Mapping[str, Any] | None, path: tuple[str, ...]) -> Any:
    """The value at `path` of a nested dict, or None where the path ends early."""
    value: Any = tree
    for part in path:
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def percent(value: float | None, digits: int = 1) -> str:
    """A relative change for reading; a dash for none."""
    return "-" if value is None else f"{100 * value:+.{digits}f}%"


def _interval(change: Mapping[str, Any] | None) -> str:
    bounds = change and change["ci95"]
    return f"[{percent(bounds[0])}, {percent(bounds[1])}]" if bounds else "-"


def _number(value: Mapping[str, Any] | None) -> str:
    return "-" if value is None or value["value"] is None else f"{value['value']:.3f}"


def summary(results: Mapping[str, Any]) -> Table:
    """The table of a finished run: metric, baseline, pruned, change, interval, controls."""
    control = results["control"]
    oracle = control.get("oracle")
    selection = results["selection"]
    title = (
        f"{results['run']['name']}: {selection['num_pruned']} of {results['model']['neurons']} "
        f"neurons removed ({selection['method']})"
    )
    table = Table(title=escape(title), title_justify="left")
    for name in ("metric", "baseline", "pruned", "change", "95% interval", "random control"):
        table.add_column(name, justify="left" if name == "metric" else "right")
    if oracle:
        table.add_column("oracle", justify="right")
    for path in _ROWS:
        change = leaf(results["change"], path)
        if change is None:
            continue
        random = leaf(control["random"] and control["random"]["change"], path)
        row = [
            " ".join(path).replace("_", " "),
            _number(leaf(results["baseline"], path)),
            _number(leaf(results["pruned"], path)),
            percent(change["relative"]),
            _interval(change),
            percent(random["relative"]) if random else "-",
        ]
        if oracle:
            known = leaf(oracle["change"], path)
            row.append(percent(known["relative"]) if known else "-")
        table.add_row(*row)
    return table


def show(results: Mapping[str, Any], folder: str) -> None:
    """Print the summary of a finished run to stdout."""
    console = Console(highlight=False)
    if "change" in results:
        console.print(summary(results))
        for warning in results["score_report"]["warnings"]:
            console.print(f"Note: {escape(warning)}.")
        console.print(escape(results["verdict"]), soft_wrap=True)
    console.print(f"Run directory: {escape(folder)}", soft_wrap=True)
