"""sweep.csv and the rows of sweep.json: one row a job, the same whatever the jobs ran on."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from sparc.display.plain import visible
from sparc.runs.tree import leaf
from sparc.sweeps.jobs import Job, changes_content

Row = dict[str, Any]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def sorted_rows(jobs: Sequence[Job]) -> list[tuple[Job, Row]]:
    """Every job with its row, ordered by model, dataset, attribution, neurons, seed and split."""
    named = ("model", "dataset", "attribution", "num_neurons", "seed", "split")

    def key(pair: tuple[Job, Row]) -> list[tuple[bool, float, str]]:
        values = [*(pair[1][name] for name in named), pair[0].name]
        # numbers by size, before texts and before what is not known
        return [
            (value is None, value if isinstance(value, int) else 0.0, str(value))
            for value in values
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
    for row in rows:
        writer.writerow([_cell(value) for value in row.values()])
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    text = visible(" ".join(str(value).split())) if isinstance(value, str) else str(value)
    # a cell may begin with blanks for a spreadsheet and still be a formula
    return f"'{text}" if isinstance(value, str) and text.lstrip().startswith(_FORMULA) else text


def _six_digits(row: Row) -> Row:
    return {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in row.items()}


def _row(job: Job) -> Row:
    results, config = job.results, job.config
    metric = str(leaf(results, "evaluation", "primary_metric") or "")
    evaluation = leaf(results, "evaluation") or leaf(config, "evaluation")
    described = {
        **_first(job),
        **_numbers(results, tuple(metric.split("."))),
        "verdict": results.get("verdict"),
        "job": job.folder,
        "reason": job.reason,
        "granularity": leaf(results, "selection", "granularity")
        or leaf(config, "pruning", "method"),
        "split": leaf(evaluation, "split"),
        "in_sample": leaf(evaluation, "in_sample"),
        "primary_metric": metric or None,
        "config_hash": leaf(results, "run", "config_hash"),
        "overrides": " ".join(filter(changes_content, job.overrides)),
    }
    return _six_digits(described)


def _first(job: Job) -> Row:
    """The columns that name a job."""
    results, config, stated = job.results, job.config, job.stated

    def known(fallback: str, *paths: tuple[Mapping[str, Any], tuple[str, ...]]) -> Any:
        found = (leaf(tree, *path) for tree, path in paths)
        return next((value for value in found if value is not None), stated.get(fallback))

    name = ("name",)
    return {
        "model": known("model", (results, ("model", *name)), (config, ("model", *name))),
        "dataset": known("dataset", (config, ("dataset", *name))),
        "attribution": known(
            "attribution", (results, ("selection", "method")), (config, ("attribution", *name))
        ),
        "num_neurons": known(
            "num_neurons",
            (results, ("selection", "num_pruned")),
            (config, ("pruning", "num_neurons")),
        ),
        "seed": known("seed", (results, ("run", "seed")), (config, ("seed",))),
        "status": job.status,
    }


def _numbers(results: Mapping[str, Any], primary: tuple[str, ...]) -> Row:
    """The measured columns; None where a job did not get there."""
    general = ("perplexity", "general")

    def value(arm: str, path: tuple[str, ...]) -> Any:
        return leaf(results, arm, *path, "value")

    def relative(path: tuple[str, ...], *tree: str) -> Any:
        return leaf(results, *(tree or ("change",)), *path, "relative")

    def bounds(name: str, path: tuple[str, ...], *tree: str) -> Row:
        low, high = leaf(results, *tree, *path, "ci95") or (None, None)
        return {f"{name}_ci95_low": low, f"{name}_ci95_high": high}

    random = ("control", "random")
    return {
        "toxicity_baseline": value("baseline", primary),
        "toxicity_pruned": value("pruned", primary),
        "toxicity_relative": relative(primary),
        "perplexity_relative": relative(general),
        **bounds("toxicity", primary, "change"),
        "toxicity_p_value": leaf(results, "change", *primary, "p_value"),
        **bounds("perplexity", general, "change"),
        "perplexity_baseline": value("baseline", general),
        "perplexity_pruned": value("pruned", general),
        "benign_perplexity_relative": relative(("perplexity", "benign")),
        "loop_rate_baseline": value("baseline", ("repetition", "loop_rate")),
        "loop_rate_pruned": value("pruned", ("repetition", "loop_rate")),
        "random_draws": leaf(results, *random, "draws"),
        "random_toxicity_relative": relative(primary, *random, "change"),
        "random_perplexity_relative": relative(general, *random, "change"),
        "difference_toxicity_relative": relative(primary, *random, "difference"),
        **bounds("difference_toxicity", primary, *random, "difference"),
    }
