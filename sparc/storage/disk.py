"""Disks without room or right to write: found before a run starts if possible, in one line."""

import contextlib
import errno
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from sparc.errors import UserError

_LEAST = 256 * 1024  # bytes; settings, log and results of a run that then says what it lacks


def free_bytes(path: Path) -> int:
    """Bytes that may still be written where `path` is, or would be made."""
    folder = Path(os.path.realpath(os.path.expanduser(path)))  # takes no offence at a loop of links
    while not os.path.exists(folder):  # unlike Path.exists, it takes no offence at forbidden ones
        folder = folder.parent
    return shutil.disk_usage(folder).free


def quota_left(path: Path) -> int | None:
    """Bytes left of this user's quota where `path`, which exists, is; None where no tool says so.

    Quotas of projects and of many servers show as a smaller disk. Those of users are asked for:
    `lfs` knows Lustre's, `quota` the others. To write a file for a trial would do no less harm.
    """
    mount = path.expanduser().resolve()
    while not mount.is_mount():
        mount = mount.parent
    for command in (["lfs", "quota", "-q", "-u", str(os.getuid())], ["quota", "-w", "-f"]):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(
                [*command, str(mount)], capture_output=True, text=True, timeout=5, check=False
            )
            if (left := read_quota(done.stdout)) is not None:
                return left
    return None


def read_quota(said: str) -> int | None:
    """Bytes left in what `quota -w` or `lfs quota -q` said: kB used, soft and hard limit (0: none).

    A star marks what is above its limit.
    """
    found = re.search(r"(?m)^\s*\S+\s+(\d+)\*?\s+(\d+)\s+(\d+)\s", said)
    if found is None:
        return None
    used, soft, hard = map(int, found.groups())
    limit = hard or soft
    return max(0, limit - used) * 1024 if limit else None


def refuse_full(folders: Mapping[str, str]) -> None:
    """Raise UserError for a disk that has no room at all; `folders` are named by their keys.

    A folder that is there and read-only may have none.
    """
    for key, folder in folders.items():
        free = free_bytes(Path(folder))
        if free < _LEAST and (os.access(folder, os.W_OK) or not os.path.isdir(folder)):
            raise UserError(
                f"{key}={folder}: no space left on its disk ({free} bytes); free some, or set "
                f"{key} to a folder on another disk"
            )


def refuse_unwritable(folders: Mapping[str, str]) -> None:
    """Make `folders`, named by their keys. Raises UserError for one that cannot be written."""
    for key, folder in folders.items():
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UserError(
                f"{key}={folder}: cannot be written ({error.strerror}); set {key} to a folder "
                "that can"
            ) from error


def refuse_useless(cache: str) -> None:
    """Raise UserError where paths.cache can neither be written nor holds anything to be read."""
    try:
        refuse_unwritable({"paths.cache": cache})
    except UserError:
        with contextlib.suppress(OSError):
            if any(Path(cache).iterdir()):
                return  # what it lacks is told when it is missed
        raise


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Raise UserError where the block cannot write into `folder`, which lies in paths.outputs."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{error.filename or folder}: {error.strerror or error}; set paths.outputs to a folder "
            "that can be written, on a disk with room"
        ) from error


def no_space(error: BaseException | None) -> bool:
    """Whether a write failed because the disk, or one's share of it, is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error):  # safetensors' own exception has no errno
            return True
        error = error.__cause__ or error.__context__
    return False


NO_SPACE = (
    "no space left on the disk of paths.outputs or paths.cache: free some or set them to another "
    "disk, and start again; what is in the cache is whole and is not computed again"
)
