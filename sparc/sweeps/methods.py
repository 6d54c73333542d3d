"""What a sweep compares, in words."""

from collections.abc import Sequence

from sparc.runs.tree import leaf
from sparc.sweeps.jobs import Job, changes_content

# What tells points of one setting apart, or runs of one point, and so is no part of its name.
_NOT_NAMED = {
    "model",
    "dataset",
    "name",
    "seed",
    "pruning.num_neurons",
    "pruning.curve",
    "evaluation.split",
    "evaluation.in_sample",
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


def _varied(overrides: Sequence[str]) -> dict[str, str]:
    given = dict(o.lstrip("+").split("=", 1) for o in overrides if "=" in o and changes_content(o))
    return {key: value for key, value in given.items() if key not in _NOT_NAMED}


def attribution_of(job: Job) -> str:
    """The attribution method of a job, or how its neurons were chosen instead."""
    found = leaf(job.results, "selection", "method") or leaf(job.config, "attribution", "name")
    return str(found or job.stated.get("attribution") or "unknown")
