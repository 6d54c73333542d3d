"""Which jobs of a sweep are still to be run: what is done or running is left alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sparc.storage.locks import held
from sparc.sweeps.jobs import RUNNING, identity, is_done, read_jobs
from sparc.sweeps.submitted import Submission, in_queue, read_submitted


@dataclass(frozen=True)
class Plan:
    """Jobs by what is to happen to them.

    todo: overrides of those to run, in the sweep's order. queued: those that Slurm has already.
    busy: lock files of those that another process works on. done: how many have ended well.
    """

    todo: tuple[tuple[str, ...], ...]
    queued: Mapping[tuple[str, ...], Submission]
    busy: tuple[Path, ...]
    done: int

    def __str__(self) -> str:
        todo, running = len(self.todo), len(self.queued) + len(self.busy)
        total = todo + running + self.done
        if self.done == total:
            return f"all {total} jobs are done already: nothing to run"
        said = [f"{self.done} of {total} jobs are done already"] if self.done else []
        said += [f"{running} still run" if said else f"{running} of {total} jobs still run"][
            :running
        ]
        then = f"running {todo}" if todo else "waiting for them"
        return f"{', '.join(said)}: {then}" if said else f"running {total} jobs"


def plan(folder: Path, jobs: Sequence[Sequence[str]]) -> Plan:
    """What is to be done for `jobs` (their overrides) of the sweep in `folder`.

    Raises UserError where Slurm does not tell which of its jobs still run.
    """
    found = {identity(job.overrides): job for job in read_jobs(folder).jobs if job.folder}
    done = {key for key, job in found.items() if is_done(job.status, job.results, job.settings)}
    left = {identity(overrides) for overrides in jobs} - done
    made = {key: each for key, each in read_submitted(folder).items() if key in left}
    queued = in_queue(folder, made)
    todo, waiting, busy = [], {}, []
    for overrides in jobs:
        key = identity(overrides)
        if key in done:
            continue
        job = found.get(key)
        lock = folder / job.folder / RUNNING if job and job.folder else None
        if key in queued:
            waiting[key] = queued[key]
        elif lock and held(lock):
            busy.append(lock)
        else:
            todo.append(tuple(overrides))
    return Plan(tuple(todo), waiting, tuple(busy), len(jobs) - len(todo) - len(waiting) - len(busy))
