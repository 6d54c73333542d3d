"""Jobs handed to Slurm, and what is known of them later; stand-ins answer for its commands."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sparc.errors import UserError
from sparc.sweep import complaint
from sparc.sweeps.identity import identity
from sparc.sweeps.jobs import PLANNING, Job
from sparc.sweeps.launching import plan
from sparc.sweeps.slurm import count_gpus
from sparc.sweeps.submitted import Submission, fates, read_submitted, write_submitted
from tests.support.runs import PATIENCE, environment, until
from tests.support.sweep_run import make_sweep


def _expected(sweep: Path) -> list[list[str]]:
    return [job["overrides"] for job in json.loads((sweep / "sweep.jobs.json").read_text())["jobs"]]


def _command(folder: Path, name: str, script: str) -> None:
    """A command of that name in `folder`, which keeps a line of its name in `folder`/calls."""
    path = folder / name
    path.write_text(f'#!/bin/sh\ncd "{folder}"\necho {name} >> calls\n{script}\n')
    path.chmod(0o755)


def _calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return path.read_text().split() if path.exists() else []


def test_a_slurm_that_gives_no_answer_has_not_an_empty_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    monkeypatch.setattr("sparc.sweeps.slurm.PAUSES", (0.01, 0.01, 0.01))
    _command(bin_, "squeue", "echo slurm_load_jobs error: Timed out >&2; exit 1")
    _command(bin_, "sacct", "echo '7_0|'; echo '7_1|TIMEOUT'")
    sweep = make_sweep(tmp_path)
    jobs = _expected(sweep)
    done, undone, ended = jobs[0], jobs[-1], jobs[-2]
    write_submitted(sweep, [Submission("slurm", "7_9", tuple(done))])
    assert len(plan(sweep, jobs).todo) == 3 and not _calls(bin_)  # nobody needs to know
    first = Submission("slurm", "7_0", tuple(undone))
    write_submitted(sweep, [first, Submission("slurm", "7_1", tuple(ended))])
    with pytest.raises(
        UserError, match=r"does not tell which .* Timed out.*sweep\.submitted\.json"
    ):
        plan(sweep, jobs)
    assert _calls(bin_) == ["squeue"] * 4
    told = [words for words, _ in fates(sweep, [identity(undone), identity(ended)]).values()]
    assert told[0] == "Slurm job 7_0 may run still: no word from Slurm"
    assert told[1].startswith("Slurm job 7_1 ended: TIMEOUT; ")
    # at the third question it answers
    _command(bin_, "squeue", "[ $(grep -c squeue calls) -ge 7 ] && echo '7_0|RUNNING|None'")
    left = plan(sweep, jobs)
    assert [each.id for each in left.queued.values()] == ["7_0"] and len(left.todo) == 2
    _command(bin_, "squeue", "exit 0")
    told = [words for words, _ in fates(sweep, [identity(undone)]).values()]
    assert told == ["Slurm job 7_0 has left the queue"]
    _command(bin_, "squeue", "exit 1")
    first.result(sweep).parent.mkdir(parents=True)
    first.result(sweep).touch()
    write_submitted(sweep, [Submission("local", "1", tuple(ended))])
    assert len(plan(sweep, jobs).todo) == 3  # that it has ended is known without Slurm


@pytest.mark.slow
def test_of_two_commands_at_once_one_submits_and_both_wait(tmp_path: Path) -> None:
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    _command(bin_, "sinfo", "echo main")
    _command(bin_, "srun", "exit 1")
    _command(bin_, "sacct", "exit 0")
    _command(bin_, "sbatch", "until [ -e go ]; do sleep 0.1; done; echo Submitted batch job 7")
    _command(bin_, "squeue", r"[ -e go ] && printf '7_0|PENDING|None\n7_1|PENDING|None\n'; true")
    env = environment(tmp_path, PATH=f"{bin_}:{os.environ['PATH']}")
    command = [sys.executable, "-m", "sparc", "-m", "hydra/launcher=slurm_cpu", "seed=0,1"]
    logs = [tmp_path / "first", tmp_path / "second"]
    with logs[0].open("w") as first, logs[1].open("w") as second:
        both = [
            subprocess.Popen(command, cwd=tmp_path, env=env, stdout=file, stderr=subprocess.STDOUT)
            for file in (first, second)
        ]
    _until_said(logs, "waiting for sweep tiny-")
    (bin_ / "go").touch()
    submits, waits = (
        both[_until_said(logs, what)]
        for what in ("submitted 2 jobs as Slurm job 7", "2 of 2 jobs still run: waiting for them")
    )
    asked = _calls(bin_).count("squeue")  # both are past these words when they have asked again
    until("more questions", lambda: _calls(bin_).count("squeue") >= asked + 3)
    submits.send_signal(signal.SIGINT)
    assert submits.wait(PATIENCE) == 130
    assert "`scancel 7` ends them" in logs[both.index(submits)].read_text()
    (bin_ / "go").unlink()
    assert waits.wait(PATIENCE) == 1
    assert logs[both.index(waits)].read_text().count("missing: ") == 2
    calls = _calls(bin_)
    assert calls.count("sbatch") == 1
    # Slurm's records may be slow to answer: not between the submission and the wait
    assert calls.index("sacct") < calls.index("sbatch")
    assert not list(tmp_path.glob(f"outputs/sweeps/*/{PLANNING}"))


def _until_said(logs: list[Path], what: str) -> int:
    """Which of `logs` holds `what`, once one does."""
    until(what, lambda: any(what in log.read_text() for log in logs))
    return [what in log.read_text() for log in logs].index(True)


def test_the_last_submission_of_a_job_counts(tmp_path: Path) -> None:
    first, other = ("seed=0", "device=cpu"), ("seed=1",)
    write_submitted(
        tmp_path, [Submission("slurm", "1_0", first), Submission("slurm", "1_1", other)]
    )
    write_submitted(tmp_path, [Submission("local", "77", ("seed=0",))])
    made = read_submitted(tmp_path)
    assert {key: each.id for key, each in made.items()} == {("seed=0",): "77", ("seed=1",): "1_1"}
    log = tmp_path / ".submitit" / "77" / "77_0_log.err"
    log.parent.mkdir(parents=True)
    log.write_text("killed")
    ((fate, where),) = fates(tmp_path, [identity(first)]).values()
    assert where == log
    told = complaint(Job(None, first, "missing"), tmp_path, fate, where)
    assert told.endswith(f"it never started; process 77 (log: {log})")


@pytest.mark.parametrize(
    ("resources", "count"),
    [("(null)", 0), ("gpu:2", 2), ("gpu:a100:4(S:0-1)", 4), ("gpu:v100:1,shard:8,gpu:t4:2", 3)],
)
def test_gpus_of_a_node(resources: str, count: int) -> None:
    assert count_gpus(resources) == count
