"""What a job's process is set to."""

import os
import platform
import subprocess
import sys

import pytest

from sparc.models import process

FAULTS = """
import resource, sys
from sparc.models.process import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    blocks = [b"x" * (6 * 2**20) for _ in range(8)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries take no notice")
def test_freed_memory_is_used_again() -> None:
    faults = {}
    for how in ("kept", "given back"):
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True
        )
        faults[how] = int(done.stdout)
    assert faults["kept"] < faults["given back"] / 10  # once instead of twenty times


def test_threads_that_slurm_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    process.set_up()
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "many")
    assert process.allotted_threads() is None
