"""Questions to Slurm: can it run this, what is still in its queue, how did a job end."""

import contextlib
import getpass
import re
import shutil
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_PATIENCE = 60  # seconds; a busy controller may take its time
PAUSES = (1.0, 2.0, 4.0)  # seconds until it is asked again where only an answer will do
_GPUS = re.compile(r"\bgpu(?::[^:,(]+)*:(\d+)")


@dataclass(frozen=True)
class Queued:
    """A job in the queue."""

    state: str
    """PENDING, RUNNING, ..."""
    reason: str
    """Why it is in it."""


class Silent(Exception):
    """A command that gave no answer; the message is what it said instead, in one line."""


def _ask(*command: str) -> list[str]:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Silent(f"{command[0]}: {error}") from None
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise Silent(said if said.startswith(command[0]) else f"{command[0]}: {said}")
    return done.stdout.splitlines()


def _partition_complaint(partition: str | None) -> str | None:
    """Why no job can be submitted to `partition` from here (None: the default), in one line.

    None where nothing is wrong: sbatch is there, Slurm answers and knows the partition.
    """
    if shutil.which("sbatch") is None:
        return (
            "no sbatch on this machine: submit from a node of the Slurm cluster, "
            "or use hydra/launcher=local"
        )
    try:
        known = sorted(set(_ask("sinfo", "-h", "-a", "-o", "%R")))
    except Silent as error:
        return f"Slurm does not answer ({error})"
    unknown = [name for name in (partition or "").split(",") if name and name not in known]
    if unknown:
        return (
            f"hydra.launcher.partition={partition}: no such partition; "
            f"choose one of: {', '.join(known)}"
        )
    return None


def request_complaint(launcher: Mapping[str, Any]) -> str | None:
    """Why Slurm cannot run jobs with the settings of a launcher, in one line; None if it may.

    Checks what can be told beforehand: partition and GPUs. sbatch has the last word.
    """
    partition, gpus = launcher.get("partition"), launcher.get("gpus_per_node") or 0
    memory = launcher.get("mem_gb") or 0
    if complaint := _partition_complaint(partition):
        return complaint
    try:
        offered = nodes(partition)
    except Silent:  # an old or odd sinfo; sbatch will tell
        return None
    where = f"partition {partition}" if partition else "the cluster"
    most = max((node.gpus for node in offered), default=0)
    if gpus > most:
        return f"hydra.launcher.gpus_per_node={gpus}: no node of {where} has more than {most} GPUs"
    largest = max((node.memory_gb for node in offered if node.gpus >= gpus), default=0)
    if memory > largest:
        what = f"{where} with so many GPUs" if gpus else where
        return f"hydra.launcher.mem_gb={memory:g}: no node of {what} has more than {largest:.0f} GB"
    return None


@dataclass(frozen=True)
class _Node:
    """A kind of node."""

    resources: str
    """In Slurm's words, such as gpu:a100:4."""
    gpus: int
    memory_gb: float
    """Infinite if not told."""

    def __str__(self) -> str:
        memory = "" if self.memory_gb == float("inf") else f", {self.memory_gb:.0f} GB"
        return f"{self.resources if self.gpus else 'no GPU'}{memory}"


def nodes(partition: str | None) -> list[_Node]:
    """The kinds of nodes of `partition` (None: of the cluster). Raises Silent as Slurm does."""
    chosen = ("-p", partition) if partition else ("-a",)
    # %G is cut by default: give it room
    lines = _ask("sinfo", "-h", *chosen, "-o", "%500G|%m")
    return list(dict.fromkeys(map(_node, lines)))


def _node(line: str) -> _Node:
    resources, _, megabytes = (part.strip() for part in line.partition("|"))
    digits = megabytes.rstrip("+")  # of nodes that differ the least
    memory = int(digits) * 2**20 / 1e9 if digits.isdigit() else float("inf")
    more = float("inf") if megabytes.endswith("+") else memory
    return _Node(resources, count_gpus(resources), more)


def count_gpus(resources: str) -> int:
    """GPUs in what Slurm says of a node's resources, such as `gpu:a100:4(S:0-1),gpu:2`."""
    return sum(map(int, _GPUS.findall(resources)))


def accounting_complaint() -> str | None:
    """What Slurm says where it keeps no accounting, in one line; None where it does."""
    try:
        _ask("sacct", "-n", "-X", "-j", "1", "-o", "JobID")
    except Silent as error:
        return str(error)
    return None


def queue(pauses: Sequence[float] = ()) -> dict[str, Queued]:
    """This user's jobs that have not ended, by id, each task of an array.

    Raises Silent where Slurm gives no answer, also when it is asked again after each of `pauses`.
    """
    for pause in pauses:
        with contextlib.suppress(Silent):
            return queue()
        time.sleep(pause)
    lines = _ask("squeue", "-h", "-r", "-u", getpass.getuser(), "-o", "%i|%T|%r")
    rows = (line.split("|", 2) for line in lines if line.count("|") >= 2)
    return {name.strip(): Queued(state, reason) for name, state, reason in rows}


def endings(ids: Collection[str]) -> dict[str, str]:
    """id -> state (CANCELLED by 0, TIMEOUT, ...) of jobs, as far as Slurm's accounting knows it."""
    try:
        lines = _ask("sacct", "-n", "-P", "-X", "-j", ",".join(ids), "-o", "JobID,State")
    except Silent:
        return {}
    return {name: state for name, _, state in (line.partition("|") for line in lines)}
