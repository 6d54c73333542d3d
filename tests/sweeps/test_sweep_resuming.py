"""What is left of a sweep, who works on it, and how jobs are told to stop; no model is run."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from sparc.config import Config, PathsConfig, content
from sparc.experiment.job import execute
from sparc.experiment.stopping import Refused, stoppable
from sparc.storage.digests import digest
from sparc.storage.locks import held, lock
from sparc.sweep import complaint
from sparc.sweeps.jobs import (
    EXPECTED,
    RUNNING,
    is_done,
    read_jobs,
    settings_hash,
    write_expected,
)
from sparc.sweeps.launching import plan
from tests.support.composed import composed
from tests.support.sweep_run import make_sweep


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


def _settle(sweep: Path, job: list[str], settings: str | None) -> None:
    """Let `job` of the sweep be one that has these settings now; None: nobody knows them."""
    path = sweep / "sweep.jobs.json"
    expected = json.loads(path.read_text())
    (entry,) = (entry for entry in expected["jobs"] if entry["overrides"] == job)
    entry["config_hash"] = settings
    path.write_text(json.dumps(expected))


def test_a_job_done_under_other_settings_is_not_done(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, hostile=False)
    jobs = _expected(sweep)
    _settle(sweep, jobs[3], "1" * 64)
    assert plan(sweep, jobs).todo == (tuple(jobs[3]),)
    (changed,) = (job for job in read_jobs(sweep).jobs if job.status != "ok")
    assert changed.overrides == tuple(jobs[3]) and not changed.results
    assert complaint(changed, sweep).startswith("missing: ")
    assert "its settings have changed since it was done" in complaint(changed, sweep)


def test_a_job_whose_settings_nobody_knows_is_left_to_itself(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, hostile=False)
    jobs = _expected(sweep)
    _settle(sweep, jobs[3], None)
    assert plan(sweep, jobs).todo == (tuple(jobs[3]),)
    assert {job.status for job in read_jobs(sweep).jobs} == {"ok"}


def test_a_job_is_done_under_its_own_settings_only(tmp_path: Path) -> None:
    config = replace(Config(name="a"), paths=PathsConfig(cache="here"))
    results = {"status": "ok", "run": {"config_hash": digest(content(config))}}

    def done(now: Config) -> bool:
        return is_done("ok", results, settings_hash(now))

    assert done(config) and done(replace(config, device="cuda", paths=PathsConfig(cache="there")))
    assert not done(replace(config, seed=1))
    assert not done(replace(config, pruning=replace(config.pruning, num_neurons=1)))
    assert not is_done("failed", results, settings_hash(config))
    assert not is_done("ok", {"status": "ok"}, settings_hash(config))
    cached = replace(config, stage="attribute")
    results["run"] = {"config_hash": digest(content(cached))}
    assert not done(cached)  # its product lies elsewhere
    write_expected(tmp_path, [["seed=0"], ["seed=1"], ["seed=2"]], [config, cached], [])
    hashes = [job["config_hash"] for job in json.loads((tmp_path / EXPECTED).read_text())["jobs"]]
    assert hashes == [digest(content(config)), None, None]


@pytest.mark.parametrize(
    ("before", "now", "runs"),
    [
        ("seed=0", "seed=0", False),
        ("seed=0", "seed=1", True),
        ("stage=attribute", "stage=attribute", True),
    ],
)
def test_a_job_looks_whether_what_is_there_is_its_own(
    before: str, now: str, runs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", True)  # as it is to be afterwards
    run = {"config_hash": digest(content(composed(before)))}
    (tmp_path / "results.json").write_text(json.dumps({"status": "ok", "run": run}))
    # with a device that is not there, so that a run ends at once
    config = composed(now, f"paths.cache={tmp_path}", "device=cuda:99")
    assert execute(config, tmp_path, resume=True) == int(runs)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["status"] == ("failed" if runs else "ok")


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
    _write_lock(path, pid=dead.pid)
    assert held(path) is None
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "job": "7_1", "token": "t"}))
    assert held(path) == "Slurm job 7_1, process 1 on elsewhere"
    os.utime(path, (time.time() - 60, time.time() - 60))  # it no longer touches its lock
    assert held(path) is None
    assert [each.name for each in tmp_path.iterdir()] == ["lock"]


def _write_lock(path: Path, **holder: object) -> None:
    """The lock file of a process of this machine, with what `holder` says of it instead."""
    path.unlink(missing_ok=True)
    with lock(path, "a test"):
        own = json.loads(path.read_text())
    path.write_text(json.dumps({**own, **holder}))


def test_a_process_that_cannot_be_seen_from_here_is_not_taken_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    # the same number means another process in another container
    _write_lock(path, pid=dead.pid, pid_namespace="pid:[1]")
    assert f"process {dead.pid} on " in str(held(path))
    _write_lock(path, pid=dead.pid)
    assert held(path) is None

    def refuse(_pid: int, _signal: int) -> None:
        raise PermissionError  # as for another user's, whose /proc may be hidden

    monkeypatch.setattr(os, "kill", refuse)
    assert f"process {dead.pid} on " in str(held(path))


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


def test_a_job_goes_on_that_cannot_leave_word(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")

    def fail(_reason: str) -> None:
        raise OSError("no room")

    with _handlers(signal.SIGUSR2, lambda *_: None), stoppable(fail):
        os.kill(os.getpid(), signal.SIGTERM)
    assert "no word left" in caplog.text and "no room" in caplog.text


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
