"""The device: how much memory is free on it, and how fast it is, measured in about a second."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

_CPU_OPERATIONS, _GPU_OPERATIONS = 2e9, 4e11  # of the matrix product that is timed
_CPU_BYTES, _GPU_BYTES = 2**26, 2**28  # of the copy that is timed
_WIDEST = 4096, 16384  # of that product: a larger one is no faster, and takes room
_CALLS = 200


@dataclass(frozen=True)
class Speed:
    """How fast a device is."""

    flops: float
    """Of matrix products, a second."""
    bandwidth: float
    """Bytes moved a second."""
    call: float
    """Seconds that a single operation takes, however small it is."""


def free_memory(device: torch.device) -> int:
    """Bytes that this process may still take: on the device; on the CPU also by its control group.

    Of a machine with several GPUs: of `device` alone.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return int(min(psutil.virtual_memory().available, _group_memory()))


def _group_memory() -> float:
    """What is left of the limit of this process's control group; infinity without one."""
    group = Path("/sys/fs/cgroup")
    try:
        own = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2]
    except OSError:
        return float("inf")
    left = float("inf")
    for folder in {group, group / own.lstrip("/")}:
        try:
            limit = int((folder / "memory.max").read_text())  # "max" where there is none
            left = min(left, limit - int((folder / "memory.current").read_text()))
        except (OSError, ValueError):
            continue
    return left


def measure_speed(device: torch.device, dtype: torch.dtype, inner: int, outer: int) -> Speed:
    """How fast `device` is at products [rows, inner] x [inner, outer] and at moving memory."""
    gpu, inner, outer = device.type != "cpu", min(inner, _WIDEST[0]), min(outer, _WIDEST[1])
    operations = _GPU_OPERATIONS if gpu else _CPU_OPERATIONS
    rows = int(min(4096, max(16, operations // (2 * inner * outer))))
    a = torch.randn(rows, inner, device=device).to(dtype)
    b = torch.randn(inner, outer, device=device).to(dtype)
    product = _best(lambda: a @ b, device)
    buffer = torch.zeros(_GPU_BYTES if gpu else _CPU_BYTES, dtype=torch.uint8, device=device)
    copy = _best(buffer.clone, device)
    one = torch.zeros(1, device=device)

    def calls() -> None:
        for _ in range(_CALLS):
            one.add(1)

    return Speed(
        flops=2 * rows * inner * outer / product,
        bandwidth=2 * len(buffer) / copy,
        call=_best(calls, device) / _CALLS,
    )


def _best(action: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of two tries, after one that does not count."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        action()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return max(min(seconds[1:]), 1e-9)
