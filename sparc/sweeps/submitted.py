"""The jobs of a sweep that were handed to Slurm or to processes of their own, and their ids."""

import contextlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from sparc.errors import UserError
from sparc.runs.folder import read_submissions
from sparc.storage.artifacts import write_json
from sparc.sweeps import slurm
from sparc.sweeps.identity import identity

SUBMITTED = "sweep.submitted.json"
FOLDER = ".submitit"  # below the sweep's: one folder an id, with the log of the process
SLURM = "slurm"
_UNFINISHED = ("PENDING", "RUNNING", "REQUEUED", "COMPLETING", "SUSPENDED")
_ADVICE = {
    "TIMEOUT": "raise hydra.launcher.timeout_min",
    "OUT_OF_MEMORY": "raise hydra.launcher.mem_gb",
}
_Identity = tuple[str, ...]


@dataclass(frozen=True)
class Submission:
    """One job as it was submitted."""

    cluster: str
    """slurm, or local for a process of this machine."""
    id: str
    overrides: tuple[str, ...]

    def log(self, folder: Path) -> Path | None:
        """The log of the process, errors first, in the sweep's `folder`; None before it starts."""
        names = (f"{self.id}_0_log.{kind}" for kind in ("err", "out"))
        paths = [folder / FOLDER / self.id / name for name in names]
        return next((path for path in paths if path.is_file()), None)

    def result(self, folder: Path) -> Path:
        """What submitit writes when the job has ended by itself."""
        return folder / FOLDER / self.id / f"{self.id}_0_result.pkl"


def write_submitted(folder: Path, submissions: Iterable[Submission]) -> None:
    """Add `submissions` to those that the sweep in `folder` has made before."""
    together = [*read_submitted(folder).values(), *submissions]
    write_json(folder / SUBMITTED, [asdict(each) for each in together])


def read_submitted(folder: Path) -> dict[_Identity, Submission]:
    """The last submission of each job of the sweep in `folder`, by the job's identity."""
    try:
        records = read_submissions(folder / SUBMITTED)
    except UserError:  # none, or not ours to read
        return {}
    made = [Submission(each["cluster"], each["id"], tuple(each["overrides"])) for each in records]
    return {identity(each.overrides): each for each in made}


def in_queue(folder: Path, jobs: Collection[_Identity]) -> dict[_Identity, Submission]:
    """The submissions of `jobs` of the sweep in `folder` that have not ended, according to Slurm.

    Raises UserError where it does not tell: to submit a job that still runs wastes its resources.
    """
    open_ = {
        key: each
        for key, each in read_submitted(folder).items()
        if key in jobs and each.cluster == SLURM and not each.result(folder).exists()
    }
    if not open_:
        return {}
    try:
        there = slurm.queue(slurm.PAUSES)
    except slurm.Silent as error:
        raise UserError(
            f"Slurm does not tell which jobs of this sweep still run ({error}): try again when it "
            f"answers, or remove {folder / SUBMITTED} if none of them does"
        ) from None
    return {key: each for key, each in open_.items() if each.id in there}


def fates(folder: Path, jobs: Collection[_Identity]) -> dict[_Identity, tuple[str, Path | None]]:
    """What became of `jobs` without results, in words, and the log of their process.

    Jobs that were not submitted to Slurm, or of which it does not know, are left out.
    """
    made = {key: each for key, each in read_submitted(folder).items() if key in jobs}
    ids = {each.id for each in made.values() if each.cluster == SLURM}
    states, queued = slurm.endings(ids) if ids else {}, None
    with contextlib.suppress(slurm.Silent):
        queued = slurm.queue() if ids else None  # None also where there is no answer
    return {
        key: (_fate(each, states.get(each.id, ""), queued), each.log(folder))
        for key, each in made.items()
    }


def _fate(submission: Submission, state: str, queued: Mapping[str, slurm.Queued] | None) -> str:
    if submission.cluster != SLURM:
        return f"process {submission.id}"
    if queued and submission.id in queued:
        return f"Slurm job {submission.id} is {queued[submission.id].state}"
    if not state.strip() or state.startswith(_UNFINISHED):
        known = "has left the queue" if queued is not None else "may run still: no word from Slurm"
        return f"Slurm job {submission.id} {known}"
    advice = _ADVICE.get(state.split()[0])
    return f"Slurm job {submission.id} ended: {state}" + (f"; {advice}" if advice else "")
