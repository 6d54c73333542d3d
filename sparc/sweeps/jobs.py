"""The jobs of a sweep: those that were to run, and what each of them left in its folder."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sparc.config import NOT_CONTENT, Config, content
from sparc.errors import UserError
from sparc.runs import Run
from sparc.runs.folder import RESULTS_FILE, read_sweep_jobs
from sparc.storage.artifacts import write_json
from sparc.storage.digests import digest
from sparc.sweeps.naming import job_folder

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
    interrupted, missing (no results.json of its settings yet) or unreadable (what its folder holds
    is no run; `reason` says why). results, config: {} where they are not there. settings:
    `settings_hash` of what is to run now, None where not known. stated: model, dataset,
    attribution, num_neurons and seed as far as the sweep's start knew them. log, report: relative
    paths, None where there is no such file.
    """

    folder: str | None
    overrides: tuple[str, ...]
    status: str
    reason: str | None = None
    results: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    stated: Mapping[str, Any] = field(default_factory=dict)
    settings: str | None = None
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


def settings_hash(config: Config) -> str | None:
    """The config_hash of results that need not be found again; None where no results are enough.

    Those of stage=attribute are not: its product lies in paths.cache, and is cheap if it is there.
    """
    return None if config.stage == "attribute" else digest(content(config))


def is_done(status: str, results: Mapping[str, Any], settings: str | None) -> bool:
    """Whether a job has ended well under the settings with this `settings_hash`."""
    run = results.get("run")
    found = run.get("config_hash") if isinstance(run, Mapping) else None
    return status == "ok" and settings is not None and found == settings


def write_expected(
    folder: Path,
    jobs: Sequence[Sequence[str]],
    configs: Sequence[Config],
    arguments: Sequence[str],
) -> None:
    """Write what a sweep is about to run to sweep.jobs.json in `folder`.

    jobs: the overrides of each job; configs: the configurations of the first of them. Jobs
    without one are described by their overrides, and only they themselves can tell if they are
    done.
    """
    known = [(facts(config), settings_hash(config)) for config in configs]
    known += [(_read_off(overrides), None) for overrides in jobs[len(known) :]]
    entries = [
        {"overrides": list(overrides), "stated": stated, "config_hash": settings}
        for overrides, (stated, settings) in zip(jobs, known, strict=True)
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
    entries = expected["jobs"] if expected else []
    settings = {identity(entry["overrides"]): entry.get("config_hash") for entry in entries}
    read = [_present(_read_job(folder, each), settings) for each in _job_folders(folder)]
    best = {identity(job.overrides): job for job in sorted(read, key=_counts)}
    found = [job for job in read if not job.overrides or best[identity(job.overrides)] is job]
    if expected is None and not found:
        what = "one run, not a sweep" if (folder / RESULTS_FILE).is_file() else "no sweep"
        raise UserError(f"{folder}: {what}; give the folder of a sweep (outputs/sweeps/...)")
    there = {identity(job.overrides) for job in found}
    missing = [
        Job(None, tuple(entry["overrides"]), "missing", stated=entry["stated"])
        for entry in entries
        if identity(entry["overrides"]) not in there
    ]
    return Jobs((*found, *missing), tuple(expected["arguments"]) if expected else None)


def _counts(job: Job) -> tuple[bool, bool]:
    """Rank among folders of the same job: one that ended well before the one that it has now."""
    return job.status == "ok", job.folder == own_folder(job.overrides)


def _present(job: Job, settings: Mapping[tuple[str, ...], str | None]) -> Job:
    """`job` as it counts for the sweep as it is now, whose jobs have these `settings_hash`."""
    wanted = settings.get(identity(job.overrides))
    job = replace(job, settings=wanted)
    if wanted is None or job.status != "ok" or is_done(job.status, job.results, wanted):
        return job
    reason = "its settings have changed since it was done"
    return replace(job, status="missing", reason=reason, results={}, report=None)


def _expected(folder: Path) -> dict[str, Any] | None:
    path = folder / EXPECTED
    return read_sweep_jobs(path) if os.path.lexists(path) else None


def identity(overrides: Sequence[str]) -> tuple[str, ...]:
    """What tells a job from the others of its sweep: the overrides that change what is found."""
    return tuple(sorted(filter(changes_content, overrides)))


def own_folder(overrides: Sequence[str]) -> str:
    """The folder, in its sweep's, of the job with `overrides`: named by its identity."""
    return job_folder(",".join(identity(overrides)))


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

    run = Run(folder)
    status, reason, results = outcome(folder / RESULTS_FILE)
    overrides: list[str] = []
    config: dict[str, Any] = {}
    try:
        overrides, config = run.overrides, run.config
        if results.get("change"):
            results = run.measured
    except UserError as error:
        if status != "missing":  # a job that died early may have left its settings half written
            status, reason, results = "unreadable", str(error), {}
    return Job(
        folder=folder.relative_to(sweep).as_posix(),
        overrides=tuple(overrides),
        status=status,
        reason=reason,
        results=results,
        config=config,
        log=relative("sparc.log"),
        report=relative("report.html"),
    )


def outcome(path: Path) -> tuple[str, str | None, dict[str, Any]]:
    """Status, reason and contents of a results.json."""
    if not os.path.lexists(path):
        return "missing", None, {}
    try:
        results = Run(path.parent).results
    except UserError as error:
        return "unreadable", str(error), {}
    return results["status"], results.get("reason"), results
