"""What a job's process is given and set to before torch is imported: threads, GPUs, memory."""

import os

_FIRST_GPU = "/dev/nvidia0"
_LARGEST_KEPT = 31 * 2**20  # bytes; glibc's own limit is 32 MiB


def allotted_threads() -> int | None:
    """CPUs that Slurm gave to each task of this job; None outside of Slurm or where not asked."""
    cpus = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return int(cpus) if cpus.isdigit() else None


def granted_gpus() -> str | None:
    """What says that this process was given NVIDIA GPUs, such as SLURM_JOB_GPUS=0,1; None if not.

    In a Slurm job only Slurm says so: a node's devices are to be seen by jobs that have none.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1", "NoDevFiles"):
        return None  # hidden on purpose
    named = ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS")  # 0 is the first GPU
    counted = ("SLURM_GPUS", "SLURM_GPUS_ON_NODE")  # 0 is none
    for name in (*named, *counted):
        given = os.environ.get(name, "")
        if given and not (name in counted and given == "0"):
            return f"{name}={given}"
    there = "SLURM_JOB_ID" not in os.environ and os.path.exists(_FIRST_GPU)
    return _FIRST_GPU if there else None


def keep_freed_memory() -> None:
    """Let the C library keep some MB of freed memory for the next tensor.

    Otherwise it gives blocks back to the system at once, and each page of a new one costs a fault:
    a third of the time of a small model on a CPU. glibc keeps blocks up to the size of the largest
    that was freed so far, and twice as much in all; other libraries take no notice.
    """
    bytearray(_LARGEST_KEPT)


def set_up() -> None:
    """Set this process up for a job, with the threads that Slurm gave it."""
    # OpenMP's threads spin while they wait, which makes two of them on a busy core several times
    # slower than one. Read once, when torch is imported, as is their number.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if threads := allotted_threads():
        os.environ["OMP_NUM_THREADS"] = str(threads)
    keep_freed_memory()
