"""What W&B is told about a run, read from its directory; nothing here needs W&B."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparc.config import NOT_CONTENT
from sparc.runs import Run
from sparc.runs.tree import leaf, leaves, plain_references
from sparc.storage.digests import digest
from sparc.sweeps.identity import identity
from sparc.tracking.private import scrubbed

_LONGEST_TAG = 64  # characters that W&B accepts
X_AXIS = "num_neurons"


def describe(folder: Path, tags: list[str]) -> dict[str, Any]:
    """Id, name, group (the sweep), job type (the stage), tags and config of the run in `folder`.

    The id is the same for every attempt at a job, and whenever it is logged. Tags: the experiment,
    model, data set, attribution and pruning, then `tags`. The config is what results depend on: no
    folders, no tracking, no device. Holds neither secrets nor paths of this machine.
    """
    run = Run(folder)
    hydra = run.hydra
    config = plain_references({k: v for k, v in run.config.items() if k not in NOT_CONTENT})
    group = _group(hydra, folder)
    job = ",".join(identity(leaf(hydra, "overrides", "task") or ())) if group else None
    named = [leaf(config, part, "name") for part in ("model", "dataset", "attribution")]
    experiment, pruning = (leaf(hydra, "runtime", "choices", n) for n in ("experiment", "pruning"))
    known = [experiment, *named, pruning, *tags]
    clean = scrubbed(
        {
            "name": job or config.get("name") or folder.name,
            "group": group,
            "job_type": config.get("stage", "all"),
            "tags": list(dict.fromkeys(str(tag)[:_LONGEST_TAG] for tag in known if tag)),
            "config": config,
        }
    )
    return {"id": digest([str(folder.resolve()), config])[:16], **clean}


def _group(hydra: Mapping[str, Any], folder: Path) -> str | None:
    """The sweep's name; None outside of a sweep."""
    if hydra.get("mode") != "MULTIRUN":
        return None
    sweep = str(hydra["sweep"]["dir"])
    return folder.parent.name if "${" in sweep else Path(sweep).name


def _flat(tree: Any, *path: str) -> dict[str, Any]:
    return {"/".join(each): value for each, value in leaves(tree, path=path) if value is not None}


def summary(results: Mapping[str, Any]) -> dict[str, Any]:
    """The final numbers under their names in results.json, joined by slashes.

    Leaves of `change` stand without that word (`toxicity/rate/relative`), all others with their
    whole path (`baseline/toxicity/rate/value`). Missing values are left out.
    """
    parts = ("selection", "localisation", "baseline", "pruned", "control")
    found = _flat(results.get("change"))
    for part in ("status", "reason", "verdict", *parts):
        found |= _flat(results.get(part), part)
    found["run/seconds"] = results["run"]["seconds"]
    for stage in results["stages"]:
        found[f"stages/{stage['name']}/seconds"] = stage["seconds"]
    if results.get("selection"):
        found[X_AXIS] = results["selection"]["num_pruned"]
    return scrubbed(found)  # type: ignore[no-any-return]


def _point(amount: int, change: Mapping[str, Any]) -> dict[str, float]:
    row: dict[str, float] = {X_AXIS: amount}
    for kind in ("toxicity", "perplexity", "repetition"):
        for metric, found in (change.get(kind) or {}).items():
            for name in ("relative", "absolute"):
                value = leaf(found, name)
                if value is not None:
                    row[f"{kind}/{metric}/{name}"] = value
                    break  # a change from zero is told in absolute numbers only
    return row


def measurements(results: Mapping[str, Any]) -> list[dict[str, float]]:
    """One row an amount of neurons, ascending, the run's own last; the main changes in it."""
    if not results.get("change"):
        return []
    own = results["selection"]["num_pruned"]
    curve = sorted(results.get("curve") or [], key=lambda point: int(point["num_neurons"]))
    rows = [
        _point(point["num_neurons"], point["change"])
        for point in curve
        if point["num_neurons"] != own
    ]
    return [*rows, _point(own, results["change"])]
