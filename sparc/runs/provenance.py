"""Where a result comes from: versions, revision, node, and what each stage cost."""

import contextlib
import importlib.metadata
import platform
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from sparc.display.progress import progress
from sparc.storage.locks import slurm_job

_PACKAGES = ("torch", "transformers", "lxt", "detoxify", "datasets", "hydra-core", "numpy", "scipy")


def _versions() -> dict[str, str]:
    """Versions of Python, of this package and of what its numbers depend on."""
    found = {"python": platform.python_version()}
    for name in ("sparc", *_PACKAGES):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _git_revision() -> str | None:
    """The commit of this checkout (with `-dirty` for local changes); None outside of one."""
    package = Path(__file__).resolve().parents[1]
    if not (package.parent / ".git").exists():
        return None
    command = ["git", "-C", str(package), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, or no commit yet
        return None
    return done.stdout.strip() or None


def surroundings(device: str) -> dict[str, Any]:
    """Device, node, job id and GPU names of this process."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "device": device,
        "gpus": gpus,
        "node": socket.gethostname(),
        "job_id": slurm_job(),
        "threads": torch.get_num_threads(),
        "versions": _versions(),
        "git_revision": _git_revision(),
    }


def _peak_memory_bytes() -> int:
    """Most memory so far, not of one stage: on a CUDA device in use, else of the process."""
    devices = range(torch.cuda.device_count())
    allocated = max((torch.cuda.max_memory_allocated(i) for i in devices), default=0)
    if allocated:
        return allocated
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@dataclass
class Stages:
    """What each stage took, in order."""

    done: list[dict[str, Any]] = field(default_factory=list)
    listener: Callable[[str, int, int], None] = lambda _description, _done, _total: None
    """Told of progress besides the terminal."""

    @contextlib.contextmanager
    def progress(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show progress to the terminal and the listener; yields `advance(count)`."""
        done = 0

        with progress(description, total) as advance:

            def tell(count: int) -> None:
                nonlocal done
                done += count
                advance(count)
                self.listener(description, done, total)

            yield tell

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[dict[str, Any]]:
        """Time a stage; the block may set `cached` in the record it is given."""
        record: dict[str, Any] = {"name": name, "seconds": None, "cached": False}
        started = time.perf_counter()
        self.done.append(record)
        try:
            yield record
        finally:
            record["seconds"] = round(time.perf_counter() - started, 3)
            record["peak_memory_bytes"] = _peak_memory_bytes()
