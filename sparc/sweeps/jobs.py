"""The jobs of a sweep: those that were to run, and what each of them left in its folder."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from sparc.artifacts import write_json
from sparc.config import NOT_CONTENT, Config
from sparc.errors import UserError

EXPECTED = "sweep.jobs.json"
RUNNING = ".running.lock"  # in a job's folder, held while the job runs
RUNS_ON = "hydra"  # the group of overrides that only say where and how jobs run
_KEYS = {
    "model": "model",
    "dataset": "dataset",
    "attribution": "attribution",
    "num_neurons": "pruning.num_neurons",
    "seed": "seed",
}


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    folder: relative to the sweep's, None for a job that left none. status: ok, failed,
    interrupted or missing (no results.json yet). results, config: {} where they are not there.
    stated: model, dataset, attribution, num_neurons and seed as far as the sweep's start knew
    them. log, report: relative paths, None where there is no such file.
    """

    folder: str | None
    overrides: tuple[str, ...]
    status: str
    reason: str | None = None
    results: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    stated: Mapping[str, Any] = field(default_factory=dict)
    log: str | None = None
    report: str | None = None

    @property
    def name(self) -> str:
        """What the job is called: its folder, else its overrides."""
        return self.folder or ",".join(self.overrides) or "job"


@dataclass(frozen=True)
class Jobs:
    """All jobs of a sweep; `arguments`: the command line's overrides, None where not known."""

    jobs: tuple[Job, ...]
    arguments: tuple[str, ...] | None


def changes_content(override: str) -> bool:
    """Whether an override changes what is found, not only where and how fast."""
    key = override.lstrip("+~").split("=")[0].split("@")[0]
    return key.split(".")[0].split("/")[0] not in (*NOT_CONTENT, RUNS_ON)


def facts(config: Config) -> dict[str, Any]:
    """What a job is called in tables, from its configuration."""
    return {
        "model": config.model.name,
        "dataset": config.dataset.name,
        "attribution": config.attribution.name,
        "num_neurons": config.pruning.num_neurons,
        "seed": config.seed,
    }


def write_expected(
    folder: Path,
    jobs: Sequence[Sequence[str]],
    configs: Sequence[Config],
    arguments: Sequence[str],
) -> None:
    """Write what a sweep is about to run to sweep.jobs.json in `folder`.

    jobs: the overrides of each job; configs: the configurations of the first of them. Jobs
    without one are described by their overrides.
    """
    stated = [facts(config) for config in configs]
    stated += [_read_off(overrides) for overrides in jobs[len(stated) :]]
    entries = [
        {"overrides": list(overrides), "stated": each}
        for overrides, each in zip(jobs, stated, strict=True)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / EXPECTED, {"arguments": list(arguments), "jobs": entries})


def _read_off(overrides: Sequence[str]) -> dict[str, Any]:
    given = dict(override.split("=", 1) for override in overrides if "=" in override)
    found: dict[str, Any] = {name: given.get(key) for name, key in _KEYS.items()}
    for name in ("num_neurons", "seed"):
        if str(found[name]).isdigit():
            found[name] = int(found[name])
    return found


def read_jobs(folder: Path) -> Jobs:
    """The jobs found in `folder` and those that sweep.jobs.json expects there.

    Raises UserError where there is no such folder, or nothing of a sweep in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder of a sweep")
    expected = _expected(folder)
    found = [_read_job(folder, each) for each in _job_folders(folder)]
    if expected is None and not found:
        what = "one run, not a sweep" if (folder / "results.json").is_file() else "no sweep"
        raise UserError(f"{folder}: {what}; give the folder of a sweep (outputs/sweeps/...)")
    entries = expected["jobs"] if expected else []
    there = {identity(job.overrides) for job in found}
    missing = [
        Job(None, tuple(entry["overrides"]), "missing", stated=entry["stated"])
        for entry in entries
        if identity(entry["overrides"]) not in there
    ]
    return Jobs((*found, *missing), tuple(expected["arguments"]) if expected else None)


def _expected(folder: Path) -> dict[str, Any] | None:
    path = folder / EXPECTED
    if not path.is_file():
        return None
    try:
        expected: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {"arguments": expected["arguments"], "jobs": expected["jobs"]}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); remove it and try again") from None


def identity(overrides: Sequence[str]) -> tuple[str, ...]:
    """What tells a job from the others of its sweep: the overrides that change what is found."""
    return tuple(sorted(filter(changes_content, overrides)))


def _job_folders(folder: Path) -> Iterator[Path]:
    """Folders below `folder` in which Hydra or a job left its files, in the order of names."""
    for name, folders, files in os.walk(folder):
        folders.sort()
        if Path(name) != folder and (".hydra" in folders or "results.json" in files):
            folders.clear()
            yield Path(name)


def _read_job(sweep: Path, folder: Path) -> Job:
    def relative(name: str) -> str | None:
        path = folder / name
        return path.relative_to(sweep).as_posix() if path.is_file() else None

    overrides = _yaml(folder / ".hydra" / "overrides.yaml") or []
    status, reason, results = outcome(folder / "results.json")
    return Job(
        folder=folder.relative_to(sweep).as_posix(),
        overrides=tuple(str(override) for override in overrides),
        status=status,
        reason=reason,
        results=results,
        config=_yaml(folder / ".hydra" / "config.yaml") or {},
        log=relative("sparc.log"),
        report=relative("report.html"),
    )


def outcome(path: Path) -> tuple[str, str | None, dict[str, Any]]:
    """Status, reason and contents of a results.json."""
    if not path.is_file():
        return "missing", None, {}
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        return str(results["status"]), results.get("reason"), results
    except (ValueError, KeyError, TypeError, AttributeError):
        return "failed", "results.json cannot be read", {}


def _yaml(path: Path) -> Any:
    # not resolved: what an interpolation stands for here may differ from what it was for the job
    if not path.is_file():
        return None
    try:
        return OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except Exception:  # a file that a dying job left half written; any YAML error
        return None
