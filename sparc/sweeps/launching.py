"""Running what is left of a sweep: here, in processes of this machine, or as a Slurm array.

What is done or running is left alone.

hydra-submitit-launcher hands the jobs over and then waits for each one's result in turn, which ends
with a traceback at the first job that was killed, minutes after it was. Here its launcher only
serves as what is submitted, and the waiting is `sparc.sweeps.waiting`'s.
"""

import contextlib
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from omegaconf import DictConfig, OmegaConf

from sparc.config.complaints import tell
from sparc.errors import UserError
from sparc.storage.locks import held, lock
from sparc.sweeps import slurm
from sparc.sweeps.identity import identity
from sparc.sweeps.jobs import PLANNING, RUNNING, is_done, read_jobs
from sparc.sweeps.submitted import FOLDER, SLURM, Submission, in_queue, write_submitted
from sparc.sweeps.waiting import await_all, run_at_most

# A failing line of `setup` ends the job, and since Slurm 22.05 srun must be told the CPUs again.
_FIRST = "set -e"
_SRUN_CPUS = "export SRUN_CPUS_PER_TASK={}"


@dataclass(frozen=True)
class _Plan:
    """Jobs by what is to happen to them."""

    todo: tuple[tuple[str, ...], ...]
    """Overrides of those to run, in the sweep's order."""
    queued: Mapping[tuple[str, ...], Submission]
    """Those that Slurm has already, by their identities."""
    busy: tuple[Path, ...]
    """Lock files of those that another process works on."""
    done: int
    """How many have ended well."""

    def __str__(self) -> str:
        todo, running = len(self.todo), len(self.queued) + len(self.busy)
        total = todo + running + self.done
        if self.done == total:
            return f"all {total} jobs are done already: nothing to run"
        said = [f"{self.done} of {total} jobs are done already"] if self.done else []
        if running:
            said.append(f"{running} still run" if said else f"{running} of {total} jobs still run")
        then = f"running {todo}" if todo else "waiting for them"
        return f"{', '.join(said)}: {then}" if said else f"running {total} jobs"


def plan(folder: Path, jobs: Sequence[Sequence[str]]) -> _Plan:
    """What is to be done for `jobs` (their overrides) of the sweep in `folder`.

    Raises UserError where Slurm does not tell which of its jobs still run.
    """
    found = {job.identity: job for job in read_jobs(folder).jobs if job.folder}
    done = {key for key, job in found.items() if is_done(job.status, job.results, job.settings)}
    left = [tuple(overrides) for overrides in jobs if identity(overrides) not in done]
    queued = in_queue(folder, set(map(identity, left)))
    locks = {key: folder / str(job.folder) / RUNNING for key, job in found.items()}
    todo, busy = [], []
    for overrides in left:
        key = identity(overrides)
        if key in locks and key not in queued and held(locks[key]):
            busy.append(locks[key])
        elif key not in queued:
            todo.append(overrides)
    return _Plan(tuple(todo), queued, tuple(busy), len(jobs) - len(left))


def launch(launcher: Any, jobs: Sequence[Sequence[str]], config: DictConfig, parallel: int) -> None:
    """Run those of `jobs` (their overrides) that are not done and do not run already.

    Returns when all jobs have ended, also those that ran already. What each of them found is in its
    folder. Ends the process with code 2 where Slurm refuses the jobs.

    Args:
        launcher: Hydra's, set up.
        jobs: The overrides of each.
        config: The sweep's, with Hydra's own part.
        parallel: How many processes of this machine at a time.
    """
    folder = Path(config.hydra.sweep.dir)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, folder / "multirun.yaml")
    executor, made = getattr(launcher, "_EXECUTOR", None), list[Submission]()
    try:
        # by one command at a time: of two at once each would submit what is left
        with lock(folder / PLANNING, f"sweep {folder.name}"):
            left = plan(folder, jobs)
            print(f"sparc: {left}", flush=True)
            if left.todo and executor == SLURM:
                made = _submit(launcher, left, folder)
        if left.todo and executor is None:
            launcher.launch(left.todo, 0)
        elif left.todo and executor != SLURM:
            run_at_most(parallel, _executor(launcher), _calls(launcher, left.todo), folder)
        await_all(folder, [*left.queued.values(), *made], left.busy)
    except UserError as error:
        sys.exit(tell(str(error)))


def _executor(launcher: Any) -> Any:
    """submitit's executor with the settings of `launcher`, as hydra-submitit-launcher makes it."""
    import submitit
    from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf

    cluster = launcher._EXECUTOR
    settings = {key: value for key, value in launcher.params.items() if value is not None}
    timeouts = settings.pop("max_num_timeout", None)
    first = {} if timeouts is None else {f"{cluster}_max_num_timeout": timeouts}
    executor = submitit.AutoExecutor(settings.pop("submitit_folder"), cluster, **first)
    if cluster == SLURM:
        cpus, given = settings.get("cpus_per_task"), settings.get("setup") or []
        first_lines = [_FIRST, _SRUN_CPUS.format(cpus)] if cpus else [_FIRST]
        settings["setup"] = [*first_lines, *(line for line in given if line != _FIRST)]
    common = {each.name for each in fields(BaseQueueConf)}
    executor.update_parameters(
        **{key if key in common else f"{cluster}_{key}": each for key, each in settings.items()}
    )
    return executor


def _calls(
    launcher: Any, jobs: Sequence[tuple[str, ...]]
) -> list[tuple[tuple[str, ...], tuple[Any, ...]]]:
    """Each job with the arguments with which the launcher is called to run it."""
    state = Singleton.get_state()
    return [
        (job, (launcher, list(job), "hydra.sweep.dir", number, f"job_id_for_{number}", state))
        for number, job in enumerate(jobs)
    ]


def _submit(launcher: Any, left: _Plan, folder: Path) -> list[Submission]:
    """Hand the jobs to Slurm as one array. Raises UserError where it does not take them."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    calls = [arguments[1:] for _, arguments in _calls(launcher, left.todo)]
    complaint = slurm.accounting_complaint()  # may take long: not between submitting and waiting
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # submitit repeats there what it raises
            jobs = _executor(launcher).map_array(launcher, *zip(*calls, strict=True))
    except (FailedJobError, FailedSubmissionError) as error:
        said = " ".join(str(error).replace("sbatch: error: ", "").split())
        raise UserError(
            f"Slurm refuses the jobs: {said} (see hydra.launcher.partition, account, qos, "
            "gpus_per_node, cpus_per_task, mem_gb, timeout_min)"
        ) from None
    made = [
        Submission(SLURM, job.job_id, overrides)
        for job, overrides in zip(jobs, left.todo, strict=True)
    ]
    write_submitted(folder, made)
    array = made[0].id.split("_")[0]
    print(
        f"sparc: submitted {len(made)} jobs as Slurm job {array} (logs: {folder / FOLDER})",
        flush=True,
    )
    if complaint:
        print(
            f"sparc: how a killed job ended will not be told, Slurm keeps no record: {complaint}",
            file=sys.stderr,
        )
    return made
