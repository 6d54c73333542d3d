"""The folder of a sweep's job, named by what the job changes."""

import re

from sparc.storage.digests import digest

_UNSAFE = re.compile(r"[^A-Za-z0-9.,=_-]+")
_LONGEST = 200  # file systems end at 255 bytes; a path has other parts, too


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
