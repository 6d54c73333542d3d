"""The jobs of a sweep as sweep.csv and sweep.json have them: one row each, whatever they ran on."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from sparc.display.plain import visible
from sparc.runs.tree import leaf
from sparc.sweeps.identity import changes_content
from sparc.sweeps.jobs import Job

Row = dict[str, Any]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MEASURED = {  # column -> its place in results.json; {primary} is the metric that decides
    "toxicity_baseline": "baseline.{primary}.value",
    "toxicity_pruned": "pruned.{primary}.value",
    "toxicity_relative": "change.{primary}.relative",
    "perplexity_relative": "change.perplexity.general.relative",
    "toxicity_ci95_low": "change.{primary}.ci95.low",
    "toxicity_ci95_high": "change.{primary}.ci95.high",
    "toxicity_p_value": "change.{primary}.p_value",
    "perplexity_ci95_low": "change.perplexity.general.ci95.low",
    "perplexity_ci95_high": "change.perplexity.general.ci95.high",
    "perplexity_baseline": "baseline.perplexity.general.value",
    "perplexity_pruned": "pruned.perplexity.general.value",
    "benign_perplexity_relative": "change.perplexity.benign.relative",
    "loop_rate_baseline": "baseline.repetition.loop_rate.value",
    "loop_rate_pruned": "pruned.repetition.loop_rate.value",
    "random_draws": "control.random.draws",
    "random_toxicity_relative": "control.random.change.{primary}.relative",
    "random_perplexity_relative": "control.random.change.perplexity.general.relative",
    "difference_toxicity_relative": "control.random.difference.{primary}.relative",
    "difference_toxicity_ci95_low": "control.random.difference.{primary}.ci95.low",
    "difference_toxicity_ci95_high": "control.random.difference.{primary}.ci95.high",
}
_ENDS = {"low": 0, "high": 1}
# What tells points of one setting apart, or runs of one point, and so is no part of its name.
_NOT_NAMED = {
    *("model", "dataset", "name", "seed", "pruning.num_neurons", "pruning.curve"),
    *("evaluation.split", "evaluation.in_sample"),
}


def method_names(jobs: Sequence[Job]) -> dict[str, str]:
    """job name -> what the sweep varies beside amounts, seeds and splits, such as `lrp`.

    A group is named by its value, any other key as key=value; without either it is the
    attribution method.
    """
    given = {job.name: _varied(job.overrides) for job in jobs}
    keys = dict.fromkeys(key for found in given.values() for key in found)
    varying = [key for key in keys if len({found.get(key) for found in given.values()}) > 1]
    names = {}
    for job in jobs:
        found = given[job.name]
        parts = [
            f"{key}={found[key]}" if "." in key else found[key] for key in varying if key in found
        ]
        names[job.name] = ", ".join(parts) or attribution_of(job)
    return names


def attribution_of(job: Job) -> str:
    """The attribution method of a job, or how its neurons were chosen instead."""
    return str(job.facts["attribution"] or "unknown")


def _varied(overrides: Sequence[str]) -> dict[str, str]:
    given = dict(o.lstrip("+").split("=", 1) for o in overrides if "=" in o and changes_content(o))
    return {key: value for key, value in given.items() if key not in _NOT_NAMED}


def with_rows(jobs: Sequence[Job]) -> list[tuple[Job, Row]]:
    """Every job with its row, ordered by model, dataset, attribution, neurons, seed and split."""

    def key(pair: tuple[Job, Row]) -> list[tuple[bool, float, str]]:
        job, row = pair
        # numbers by size, before texts and before what is not known
        return [
            (value is None, value if isinstance(value, int) else 0.0, str(value))
            for value in (*(row[name] for name in job.facts), row["split"], job.name)
        ]

    return sorted(((job, _row(job)) for job in jobs), key=key)


def as_csv(rows: Sequence[Row]) -> str:
    """Rows as comma-separated text with a header; empty cells where nothing was measured.

    A text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if rows:
        writer.writerow(rows[0])
    writer.writerows(map(_cell, row.values()) for row in rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if not isinstance(value, str):
        return str(value)
    text = visible(" ".join(value.split()))
    # a cell may begin with blanks for a spreadsheet and still be a formula
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def _row(job: Job) -> Row:
    """The row of a job, with six digits; None where it did not get so far."""
    results, config = job.results, job.config
    metric = str(leaf(results, "evaluation", "primary_metric") or "")
    evaluation = leaf(results, "evaluation") or leaf(config, "evaluation")
    granularity = leaf(results, "selection", "granularity")
    row = {
        **job.facts,
        "status": job.status,
        **{name: _at(results, place, metric) for name, place in _MEASURED.items()},
        "verdict": results.get("verdict"),
        "job": job.folder,
        "reason": job.reason,
        "granularity": granularity or leaf(config, "pruning", "method"),
        "split": leaf(evaluation, "split"),
        "in_sample": leaf(evaluation, "in_sample"),
        "primary_metric": metric or None,
        "config_hash": leaf(results, "run", "config_hash"),
        "overrides": " ".join(filter(changes_content, job.overrides)),
    }
    return {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in row.items()}


def _at(results: Any, place: str, primary: str) -> Any:
    *path, last = place.replace("{primary}", primary).split(".")
    if last not in _ENDS:
        return leaf(results, *path, last)
    interval = leaf(results, *path)
    return interval[_ENDS[last]] if interval else None
