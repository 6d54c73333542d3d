"""What tells the jobs of a sweep apart: the overrides that change what is found."""

import re
from collections.abc import Sequence

from sparc.config import NOT_CONTENT, Config, content
from sparc.storage.digests import digest

_RUNS_ON = "hydra"  # the group of overrides that only say where and how jobs run
_UNSAFE = re.compile(r"[^A-Za-z0-9.,=_-]+")
_LONGEST = 200  # file systems end at 255 bytes; a path has other parts, too


def changes_content(override: str) -> bool:
    """Whether an override changes what is found, not only where and how fast."""
    key = override.lstrip("+~").split("=")[0].split("@")[0]
    return key.split(".")[0].split("/")[0] not in (*NOT_CONTENT, _RUNS_ON)


def identity(overrides: Sequence[str]) -> tuple[str, ...]:
    """What tells a job from the others of its sweep: the overrides that change what is found."""
    return tuple(sorted(filter(changes_content, overrides)))


def own_folder(overrides: Sequence[str]) -> str:
    """The folder, in its sweep's, of the job with `overrides`: named by its identity."""
    return job_folder(",".join(identity(overrides)))


def job_folder(overrides: str) -> str:
    """A folder's name for `overrides` joined by commas, such as `num_neurons=8,seed=0`.

    Letters, digits and `.,=_-` stay, so that the name is safe in file systems and addresses.
    Where something is replaced, or the name is longer than 200 characters, it ends in a hash of
    the whole, so that different jobs keep different folders.
    """
    safe = _UNSAFE.sub("_", overrides).lstrip(".-") or "job"
    if safe == overrides and len(safe) <= _LONGEST:
        return safe
    return f"{safe[: _LONGEST - 9]}-{digest(overrides)[:8]}" if overrides else safe


def sweep_folder(first: Config, jobs: Sequence[Sequence[str]]) -> str:
    """The folder of a sweep: the same sweep finds it again, wherever and on whatever it runs.

    Args:
        first: The configuration of the first job.
        jobs: The overrides of every job.
    """
    key = digest({"first": content(first), "jobs": sorted(map(identity, jobs))})[:10]
    return f"{first.paths.outputs}/sweeps/{first.name}-{key}"
