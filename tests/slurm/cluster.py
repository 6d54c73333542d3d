"""A private Slurm for the tests of one file, and sweeps of the real command on it."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sparc.sweeps.identity import job_folder
from sparc.sweeps.submitted import SUBMITTED
from tests.support.runs import PATIENCE, environment, until

HERE = Path(__file__).parent
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "slurmdbd", "mariadbd")
# Enough to see a job go through every part of the pipeline; a file, so that names stay short.
TINY = """\
# @package _global_
defaults: [quick, _self_]
dataset:
  general: {samples: 8}
  undesired: {samples: 8}
evaluation:
  prompts: 4
  perplexity: {documents: 4}
  sampling: {samples: 1, max_new_tokens: 8}
  resamples: 50
  random_draws: 1
"""
ON_SLURM = (
    "hydra/launcher=slurm_cpu",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=1",
    "hydra.launcher.timeout_min=60",
)


@dataclass(frozen=True)
class Cluster:
    """A running Slurm: two nodes of three CPUs and two make-believe GPUs; SLURM_CONF is `conf`."""

    folder: Path

    @property
    def conf(self) -> Path:
        return self.folder / "slurm.conf"

    def ask(self, *command: str) -> str:
        """What a command of Slurm prints."""
        env = {**os.environ, "SLURM_CONF": str(self.conf)}
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=PATIENCE, check=True
        )
        return done.stdout.strip()

    def restarts(self, job: str) -> int:
        """How often Slurm has started `job` again."""
        shown = self.ask("scontrol", "show", "job", "-o", job)
        return int(shown.partition("Restarts=")[2].split()[0])

    def node(self, job: str) -> str:
        """Where `job` runs, as soon as it does."""
        shown = ("squeue", "-h", "-t", "RUNNING", "-j", job, "-o", "%N")
        return str(until(f"{job} to run", lambda: self.ask(*shown)))

    def preempt(self, job: str) -> None:
        """Let something more important take the place of `job` for a while."""
        before = self.restarts(job)
        where = ("--partition=high", f"--nodelist={self.node(job)}", "--cpus-per-task=3")
        quiet = ("--parsable", "--output=/dev/null", "--mem=100")
        other = self.ask("sbatch", *where, *quiet, "--wrap", "sleep 60")
        until(f"{job} to be preempted", lambda: self.restarts(job) > before)
        self.ask("scancel", other)

    def lose_node(self, job: str) -> None:
        """Let the node of `job` die, and come back."""
        before, node = self.restarts(job), self.node(job)
        self.kill_node(node)
        self.start_node(node)
        until(f"{job} to be requeued", lambda: self.restarts(job) > before)

    def kill_node(self, node: str) -> None:
        """Kill the daemon of `node` and the processes of its jobs, as if its power had gone."""
        daemon = int((self.folder / f"slurmd.{node}.pid").read_text())
        for pid in [daemon, *self._processes(node)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _processes(self, node: str) -> set[int]:
        """Processes of jobs on `node`, and Slurm's own that look after them."""
        marks = (f"SLURMD_NODENAME={node}\0".encode(), f"SLURM_CONF={self.conf}\0".encode())
        found = set()
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                environ = (path / "environ").read_bytes()
                if all(mark in environ for mark in marks):
                    parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
                    keeper = b"slurmstepd" in Path(f"/proc/{parent}/cmdline").read_bytes()
                    found |= {int(path.name), *([int(parent)] if keeper else [])}
        return found

    def start_node(self, node: str) -> None:
        """Start the daemon of `node` again."""
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        program = shutil.which("slurmd", path=path) or "slurmd"
        env = {**os.environ, "SLURM_CONF": str(self.conf)}
        subprocess.run([program, "-N", node], env=env, check=True, timeout=PATIENCE)


def _lacking() -> str | None:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    return f"no {', '.join(missing)} here (scripts/slurm_packages.sh)" if missing else None


def _free_ports() -> int:
    """The number before six ports in a row that nobody listens on."""
    for _ in range(50):
        first = random.randrange(20000, 30000)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in range(first + 1, first + 7):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise RuntimeError("no free ports")


@contextmanager
def slurm() -> Iterator[Cluster]:
    """A private Slurm; skips the tests where there is none to start, but in CI they fail."""
    if reason := _lacking():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no Slurm to test with: {reason}")
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # unix sockets: a short name
    settings = {"DIR": folder, "PORT": _free_ports(), "NODES": 2, "CPUS": 3, "GPUS": 2}
    env = {**os.environ, **{f"SLURMLAB_{key}": str(value) for key, value in settings.items()}}
    try:
        up = subprocess.run([HERE / "slurm-up"], env=env, capture_output=True, text=True)
        assert up.returncode == 0, up.stderr
        yield Cluster(folder)
    finally:
        subprocess.run([HERE / "slurm-down"], env=env, check=False, timeout=PATIENCE)
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_name(f"{folder.name}.lock").unlink(missing_ok=True)


@dataclass
class Sweep:
    """A running `sparc -m ...` on a cluster, with outputs below `home`."""

    process: subprocess.Popen[str]
    home: Path

    @property
    def folder(self) -> Path:
        """The sweep's folder, once there is one."""
        return until("a sweep's folder", lambda: [*self.home.glob("outputs/sweeps/*")])[0]

    def job(self, *varied: str) -> Path:
        """The folder of the job with these overrides; it need not be there yet."""
        return self.folder / job_folder(",".join(sorted(["experiment=tiny", *varied])))

    def id(self, *varied: str) -> str:
        """The Slurm job that was submitted last for these overrides."""
        path = self.folder / SUBMITTED
        until("the submission", path.exists)
        wanted = {"experiment=tiny", *varied}
        records = json.loads(path.read_text())
        return next(r["id"] for r in reversed(records) if set(r["overrides"]) == wanted)

    def ended(self) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        out, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, errors


def start(*overrides: str, home: Path, cluster: Cluster | None = None, **extra: str) -> Sweep:
    """Start `sparc -m` with `overrides` on the cluster (None: in its own process)."""
    experiment = home / "conf" / "experiment" / "tiny.yaml"
    experiment.parent.mkdir(parents=True, exist_ok=True)
    experiment.write_text(TINY)
    settings = ["experiment=tiny", *(ON_SLURM if cluster else ())]
    command = [sys.executable, "-m", "sparc", "-m", "--config-dir", str(home / "conf"), *settings]
    conf = {"SLURM_CONF": str(cluster.conf)} if cluster else {}
    env = environment(home, SPARC_CACHE=str(home / "cache"), **{**conf, **extra})
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return Sweep(subprocess.Popen([*command, *overrides], cwd=home, env=env, **pipes), home)
