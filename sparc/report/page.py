"""From results.json and the artifacts of a run to one page of HTML."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sparc.display import numbers
from sparc.display.plain import embedded_json, visible
from sparc.report import charts, metrics, neuron_charts
from sparc.report.completions import Table, prompt_means, table
from sparc.report.heat import neuron_cards, reference_texts, relevance_note
from sparc.report.svg import Figure
from sparc.report.templating import asset, environment, policy
from sparc.runs import Run
from sparc.runs.tree import leaf

_MAX_CARDS = 12


def render(results: Mapping[str, Any], folder: Path) -> str:
    """The report of a finished run as one page of HTML.

    Reads the artifacts in `folder` (completions.jsonl, neurons.json, explanations.json, .hydra)
    and nothing else, so that the same run gives the same page again. Parts that the run does not
    have are left out. The page loads nothing and runs no script but its own.
    """
    run = Run(folder)
    completions = table(run.completions)
    style, script = asset("report.css"), asset("report.js")
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            **_context(results, run, completions),
            style=Markup(style),
            script=Markup(script),
            policy=policy(style, script),
            data=Markup(embedded_json(_script_data(results, completions))),
        )
    )


def figures(results: Mapping[str, Any], folder: Path) -> list[Figure]:
    """The charts of the report, in its order, from the same run."""
    run = Run(folder)
    category = _undesired_category(results, run.config)
    return [
        *_behaviour_figures(results, run, category),
        *_cost_figures(results),
        *_neuron_figures(results, run),
    ]


def _script_data(results: Mapping[str, Any], completions: Table) -> dict[str, Any]:
    return {**completions.data, "threshold": results["evaluation"]["threshold"]}


def _context(results: Mapping[str, Any], run: Run, completions: Table) -> dict[str, Any]:
    config = run.config
    category = _undesired_category(results, config)
    return {
        "results": results,
        "cards": metrics.cards(results),
        "all_rows": metrics.all_rows(results),
        "behaviour": _behaviour_figures(results, run, category),
        "cost": _cost_figures(results),
        "neuron_figures": _neuron_figures(results, run),
        "curve": _curve_rows(results),
        "texts": reference_texts(run.explanations),
        "relevance_note": relevance_note(leaf(config, "attribution") or {}),
        "neurons": neuron_cards(run.neurons[:_MAX_CARDS]),
        "completions": completions,
        "category": category,
        "sampling": leaf(config, "evaluation", "sampling"),
        "config_text": run.config_text,
        "command": shlex.join(["sparc", *run.overrides]),
        "gigabytes": lambda size: f"{size / 1e9:.2f} GB",
        "percent": numbers.percent,
    }


def _undesired_category(results: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The prompt category that the main toxicity statistics are about."""
    named = leaf(config, "dataset", "undesired_category")
    return str(named or next(iter(leaf(results, "baseline", "by_category") or {"undesired": None})))


def _behaviour_figures(results: Mapping[str, Any], run: Run, category: str) -> list[Figure]:
    means = prompt_means(run.completions, category)
    shown = visible(category)
    figures = []
    if means.get("baseline"):
        figures.append(charts.distributions(means, shown))
        figures.append(charts.paired(means, shown))
    statistic = results["evaluation"]["primary_metric"].split(".")[-1]
    rows = [
        (visible(name), found)
        for name in leaf(results, "baseline", "by_category") or {}
        if (found := metrics.levels(results, ("by_category", name, "toxicity", statistic)))
    ]
    if rows:
        spoken = f"toxicity {statistic}".replace("_", " ")
        caption = f"{spoken.capitalize()} of the completions, by kind of prompt, in every arm."
        figures.append(charts.levels("Every kind of prompt", spoken, rows, caption))
    return figures


def _cost_figures(results: Mapping[str, Any]) -> list[Figure]:
    texts = leaf(results, "change", "perplexity") or {}
    rows = [
        (visible(name), metrics.arm_changes(results, ("perplexity", name)))
        for name, change in texts.items()
        if change is not None
    ]
    return [charts.forest(rows)] if rows else []


def _neuron_figures(results: Mapping[str, Any], run: Run) -> list[Figure]:
    figures, explained = [], run.explanations
    if results["selection"]["num_pruned"]:
        figures.append(neuron_charts.per_layer(results["selection"]["per_layer"]))
    if leaf(explained, "contrast", "counts"):
        figures.append(neuron_charts.contrast_distribution(explained["contrast"]))
    seeds = {entry["seed"] for entry in results["score_report"]["sets"]}
    known = [record for record in run.neurons[:_MAX_CARDS] if "card" in record]
    if known and len(seeds) > 1:
        figures.append(neuron_charts.seed_agreement(known))
    return figures


def _curve_rows(results: Mapping[str, Any]) -> list[list[str]]:
    """One row an amount of neurons: number, then change and interval of the two main metrics."""
    primary = tuple(results["evaluation"]["primary_metric"].split("."))
    rows = []
    for point in results.get("curve", []):
        row = [str(point["num_neurons"])]
        for path in (primary, ("perplexity", "general")):
            change = leaf(point["change"], *path)
            row += [
                numbers.quantity(path, leaf(point["pruned"], *path, "value")),
                numbers.changed(path, change),
                numbers.interval(change),
            ]
        rows.append(row)
    return rows
