"""What W&B is told about a run, read from its directory; nothing here needs W&B."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparc.config import NOT_CONTENT
from sparc.runs import Run
from sparc.runs.tree import plain_references
from sparc.storage.digests import digest
from sparc.sweeps.jobs import identity
from sparc.tracking.private import scrubbed

_LONGEST_TAG = 64  # characters that W&B accepts
X_AXIS = "num_neurons"


@dataclass(frozen=True)
class Described:
    """How a run is called and filed; `group` is None outside of a sweep.

    id: the same for every attempt at a job, and whenever it is logged.
    """

    id: str
    name: str
    group: str | None
    job_type: str
    tags: list[str]
    config: dict[str, Any]


def _config(run: Run) -> dict[str, Any]:
    """The settings that results depend on: no folders, no tracking, no device."""
    return plain_references({k: v for k, v in run.config.items() if k not in NOT_CONTENT})


def _group(hydra: Mapping[str, Any], folder: Path) -> str | None:
    if hydra.get("mode") != "MULTIRUN":
        return None
    sweep = str(hydra["sweep"]["dir"])
    return folder.parent.name if "${" in sweep else Path(sweep).name


def describe(folder: Path, tags: list[str]) -> Described:
    """Id, name, group (the sweep), job type (the stage), tags and config of the run in `folder`.

    Tags: the experiment, model, data set, attribution and pruning, then `tags`. Holds neither
    secrets nor paths of this machine.
    """
    run = Run(folder)
    hydra, config = run.hydra, _config(run)
    group = _group(hydra, folder)
    job = ",".join(identity(hydra.get("overrides", {}).get("task", []))) if group else None
    choices = hydra.get("runtime", {}).get("choices", {})
    named = [config.get(part, {}).get("name") for part in ("model", "dataset", "attribution")]
    known = [choices.get("experiment"), *named, choices.get("pruning"), *tags]
    clean = scrubbed(
        {
            "name": job or config.get("name") or folder.name,
            "group": group,
            "job_type": config.get("stage", "all"),
            "tags": list(dict.fromkeys(str(tag)[:_LONGEST_TAG] for tag in known if tag)),
            "config": config,
        }
    )
    return Described(id=digest([str(folder.resolve()), config])[:16], **clean)


def _flat(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _flat(value, (*path, str(key)))
    elif tree is not None:
        yield "/".join(path), tree


def summary(results: Mapping[str, Any]) -> dict[str, Any]:
    """The final numbers under their names in results.json, joined by slashes.

    Leaves of `change` stand without that word (`toxicity/rate/relative`), all others with their
    whole path (`baseline/toxicity/rate/value`). Missing values are left out.
    """
    parts = ("selection", "localisation", "baseline", "pruned", "control")
    found = dict(_flat(results.get("change"), ()))
    for part in ("status", "reason", "verdict", *parts):
        found |= dict(_flat(results.get(part), (part,)))
    found["run/seconds"] = results["run"]["seconds"]
    for stage in results["stages"]:
        found[f"stages/{stage['name']}/seconds"] = stage["seconds"]
    if results.get("selection"):
        found[X_AXIS] = results["selection"]["num_pruned"]
    return scrubbed(found)  # type: ignore[no-any-return]


def _point(amount: int, change: Mapping[str, Any]) -> dict[str, float]:
    row: dict[str, float] = {X_AXIS: amount}
    for kind in ("toxicity", "perplexity", "repetition"):
        for metric, leaf in (change.get(kind) or {}).items():
            for name in ("relative", "absolute"):
                value = (leaf or {}).get(name)
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
