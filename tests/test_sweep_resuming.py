"""What is left of a sweep, who works on it, and how jobs are told to stop; no model is run."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sparc.locks import held, lock
from sparc.stopping import Refused, stoppable
from sparc.sweep import complaint
from sparc.sweeps.jobs import RUNNING, Job, read_jobs
from sparc.sweeps.resuming import plan
from sparc.sweeps.slurm import count_gpus
from sparc.sweeps.submitted import Submission, fates, read_submitted, write_submitted
from tests.sweep_run import make_sweep


def _expected(sweep: Path) -> list[list[str]]:
    return [job["overrides"] for job in json.loads((sweep / "sweep.jobs.json").read_text())["jobs"]]


def test_only_what_is_missing_or_failed_is_left(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    jobs = _expected(sweep)
    left = plan(sweep, [[*job, "device=cpu", "hydra/launcher=local"] for job in jobs])
    assert left.done == 24 and not left.busy and not left.queued
    # as given, so that each job gets the folder that it had
    assert [job[:4] for job in left.todo] == [tuple(job) for job in jobs[24:]]
    assert str(left) == "24 of 27 jobs are done already: running 3"
    assert str(plan(sweep, jobs[:24])) == "all 24 jobs are done already: nothing to run"
    assert str(plan(sweep, jobs[24:])) == "running 3 jobs"


def test_a_job_on_which_a_living_process_works_is_left_to_it(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    jobs = _expected(sweep)
    failed = next(job for job in read_jobs(sweep).jobs if job.status == "failed")
    path = sweep / str(failed.folder) / RUNNING
    with lock(path, "a job"):
        left = plan(sweep, jobs)
        assert left.busy == (path,) and len(left.todo) == 2
        assert str(left) == "24 of 27 jobs are done already, 1 still run: running 2"
        assert str(plan(sweep, [failed.overrides])) == "1 of 1 jobs still run: waiting for them"
    assert len(plan(sweep, jobs).todo) == 3


def test_a_lock_is_held_by_the_living_only(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert held(path) is None
    with lock(path, "a test"):
        assert f"process {os.getpid()} on " in str(held(path))
    assert held(path) is None
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = os.uname().nodename
    path.write_text(json.dumps({"host": host, "pid": dead.pid, "job": "7_1", "token": "t"}))
    assert held(path) is None
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "job": "7_1", "token": "t"}))
    assert held(path) == "Slurm job 7_1, process 1 on elsewhere"
    os.utime(path, (time.time() - 60, time.time() - 60))  # it no longer touches its lock
    assert held(path) is None
    assert [each.name for each in tmp_path.iterdir()] == ["lock"]


def test_who_waits_says_for_what_and_whom(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, waited = tmp_path / "lock", threading.Event()

    def wait() -> None:
        with lock(path, "scores 12ab"):
            waited.set()

    with lock(path, "scores 12ab"):
        thread = threading.Thread(target=wait)
        thread.start()
        assert not waited.wait(0.5)
    thread.join()
    assert f"waiting for scores 12ab: process {os.getpid()} on " in caplog.text


@contextmanager
def _handlers(number: int, handler: object) -> Iterator[None]:
    before = signal.signal(number, handler)  # type: ignore[arg-type]
    try:
        yield
    finally:
        signal.signal(number, before)


def test_under_slurm_a_polite_kill_leaves_word_and_the_job_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    said: list[str] = []
    with _handlers(signal.SIGUSR2, lambda *_: None), stoppable(said.append):
        os.kill(os.getpid(), signal.SIGTERM)
    assert len(said) == 1 and "SIGTERM" in said[0]


def test_a_refused_requeue_gets_past_code_that_catches_exceptions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")

    def refuse(*_: object) -> None:
        raise RuntimeError("Job not requeued because: timed-out too many times.")

    with _handlers(signal.SIGUSR2, refuse):
        with pytest.raises(Refused, match="timed-out too many times"), stoppable(print):
            try:
                os.kill(os.getpid(), signal.SIGUSR2)
            except Exception:
                pytest.fail("swallowed")
        assert signal.getsignal(signal.SIGUSR2) is refuse


def test_elsewhere_a_polite_kill_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUBMITIT_EXECUTOR", raising=False)
    with _handlers(signal.SIGTERM, signal.SIG_DFL):
        with pytest.raises(KeyboardInterrupt), stoppable(print):
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


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
    ((fate, where),) = fates(tmp_path, [first]).values()
    assert where == log
    told = complaint(Job(None, first, "missing"), tmp_path, fate, where)
    assert told.endswith(f"it never started; process 77 (log: {log})")


@pytest.mark.parametrize(
    ("resources", "count"),
    [("(null)", 0), ("gpu:2", 2), ("gpu:a100:4(S:0-1)", 4), ("gpu:v100:1,shard:8,gpu:t4:2", 3)],
)
def test_gpus_of_a_node(resources: str, count: int) -> None:
    assert count_gpus(resources) == count
