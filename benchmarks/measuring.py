"""What every benchmark needs: where and when it ran, machine rates, peak memory, tables, JSON."""

import datetime
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

import sparc

ROOT = Path(__file__).resolve().parent.parent
OUTPUTS = ROOT / "outputs" / "benchmarks"


def environment(device: str = "cpu") -> dict[str, Any]:
    """Date, hardware and versions, as they belong into every benchmark's JSON."""
    cuda = torch.cuda.get_device_name() if device.startswith("cuda") else None
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": cuda,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "sparc": sparc.__version__,
        "revision": _revision(),
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _revision() -> str | None:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None  # run from an archive without git


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def now(device: torch.device) -> float:
    """CPU seconds of this process (all threads); on an accelerator seconds that have passed."""
    synchronize(device)
    return time.process_time() if device.type == "cpu" else time.perf_counter()


def matmul_rate(device: torch.device, dtype: torch.dtype, size: int, repeats: int = 3) -> float:
    """Floating-point operations a second of a square matrix product, the best of `repeats`."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    a @ b
    seconds = []
    for _ in range(repeats):
        start = now(device)
        a @ b
        seconds.append(now(device) - start)
    return 2 * size**3 / max(min(seconds), 1e-9)


class PeakMemory:
    """Highest memory in use since `start`, above what was in use then, in bytes.

    On the CPU that is resident memory of the process (Linux), on CUDA what torch allocated.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._start = torch.cuda.memory_allocated(device)
        else:
            Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
            self._start = _status("VmRSS")

    def total(self) -> int:
        """The peak itself, model and libraries included."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        return _status("VmHWM")

    def extra(self) -> int:
        """The peak above what was in use at the start."""
        return self.total() - self._start


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


EXACT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "65536"}
"""Environment in which glibc gives memory back at once, so that resident memory is that in use."""


def in_process(
    script: str, task: Mapping[str, Any], threads: int, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The JSON that `script --worker TASK` prints last, from a process of its own.

    So what one side left behind (caches, patched classes, memory) cannot help or hurt the other.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    done = subprocess.run(
        [sys.executable, script, "--worker", json.dumps(task)],
        env={**os.environ, **dict.fromkeys(names, str(threads)), **(environment or {})},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{Path(script).name} --worker {json.dumps(task)} failed ({done.returncode})")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; numbers with three significant digits, None as a dash."""
    lines = [list(columns), ["-"] * len(columns), *([_cell(each) for each in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)


def write(name: str, record: Mapping[str, Any], folder: Path, device: str = "cpu") -> Path:
    """Write `record` with date, hardware and versions; says where."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"environment": environment(device), **record}, indent=1) + "\n")
    print(f"\nwritten to {path}", file=sys.stderr)
    return path
