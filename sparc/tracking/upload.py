"""What a finished run gives to W&B: points, figures, completions, its files, its final numbers."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparc.report import figures
from sparc.report.templating import figure_page
from sparc.runs import Run
from sparc.storage.artifacts import write_json
from sparc.tracking.private import scrubbed
from sparc.tracking.records import X_AXIS, measurements, summary

_MOST_ROWS = 10_000  # of the completions' table; W&B shows no more at once


def send_results(run: Any, folder: Path, with_completions: bool) -> None:
    """Send what the run directory `folder` holds to the open W&B run `run`.

    `with_completions`: also the generated texts, as a table.
    """
    if not (folder / "results.json").is_file():
        return
    results = Run(folder).results
    _send_points(run, results)
    run.summary.update(summary(results))
    if "verdict" in results:
        _send_figures(run, results, folder)
    if with_completions and (folder / "completions.jsonl").is_file():
        _send_completions(run, folder)
    _send_files(run, results, folder, with_completions)  # last: an artifact waits for the server


def _send_points(run: Any, results: Mapping[str, Any]) -> None:
    """The changes over the number of neurons, so that a sweep's panels draw them without clicks."""
    run.define_metric(X_AXIS, hidden=True)
    rows = measurements(results)
    for name in sorted({name for row in rows for name in row} - {X_AXIS}):
        run.define_metric(name, step_metric=X_AXIS)
    for row in rows:
        run.log(row)


def _send_figures(run: Any, results: Mapping[str, Any], folder: Path) -> None:
    import wandb

    pages = {
        "figures/" + re.sub(r"\W+", "_", figure.title.lower()).strip("_"): wandb.Html(
            figure_page(figure), inject=False
        )
        for figure in figures(results, folder)
    }
    if pages:
        run.log(pages)


def _send_completions(run: Any, folder: Path) -> None:
    import wandb

    # W&B keeps a copy until it is uploaded; in the run directory `wandb sync` still finds it.
    os.environ["WANDB_DATA_DIR"] = str(folder.resolve() / "wandb" / "staging")
    records = Run(folder).completions[:_MOST_ROWS]
    columns: list[str | int] = [
        "arm",
        "draw",
        "category",
        "sample",
        "prompt",
        "completion",
        "score",
    ]
    data = [[record.get(str(column)) for column in columns] for record in records]
    run.log({"completions": wandb.Table(columns=columns, data=data)})


def _send_files(run: Any, results: Mapping[str, Any], folder: Path, with_completions: bool) -> None:
    """results.json without paths, and neurons.json: a version of their configuration's artifact.

    The cards of neurons quote reference texts, so they go where completions go.
    """
    import wandb

    kept = folder / "wandb" / "artifact"
    kept.mkdir(parents=True, exist_ok=True)
    write_json(kept / "results.json", scrubbed(results))
    if (folder / "neurons.json").is_file():
        neurons = Run(folder).neurons
        if not with_completions:
            neurons = [{k: v for k, v in each.items() if k != "card"} for each in neurons]
        write_json(kept / "neurons.json", neurons)
    name = re.sub(r"[^\w.-]+", "-", results["run"]["name"])[:100]
    artifact = wandb.Artifact(f"{name}-{results['run']['config_hash'][:10]}", type="run")
    for file in sorted(kept.iterdir()):
        # in place and relative: a copy would lie in the home directory, and be named by it
        artifact.add_file(os.path.relpath(file), policy="immutable", skip_cache=True)
    run.log_artifact(artifact)
