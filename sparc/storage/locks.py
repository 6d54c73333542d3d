"""A lock between processes that also holds on shared filesystems.

The lock is a file made with O_EXCL and touched by its holder every few seconds. A waiter takes
it over when the touching stops: it watches the file's time change by its own clock, so that the
clocks of two machines need not agree, and it moves the dead file away by rename, which only one
waiter can win. A holder that died on this very machine is noticed at once.

filelock's SoftFileLease (4.2) would do nearly all of this, but takes over by exchanging two names
(`_take_over_by_exchange`), which NFS refuses: there the lock of a dead machine would stay for ever.
"""

import contextlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from sparc.storage.artifacts import beside, moved_away

_HEARTBEAT = 5.0
_STALE = 30.0
_POLL = 0.2
_log = logging.getLogger(__name__)


def slurm_job() -> str | None:
    """The id of the Slurm job that this process belongs to, as Slurm's commands take it."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{what}_ID") for what in ("JOB", "TASK"))
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def _create(path: Path, token: str) -> bool:
    me = {"pid": os.getpid(), **_pids_known_here(), "job": slurm_job(), "token": token}
    try:
        with path.open("x") as file:
            file.write(json.dumps(me))
    except FileExistsError:
        return False
    return True


def _holder(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):  # gone, or its holder is just writing it
        return {}
    return value if isinstance(value, dict) else {}


def _pids_known_here() -> dict[str, object]:
    """Where process ids mean what they mean here: host, and namespace where there are any.

    Two containers may share a host's name and still number their processes each for itself.
    """
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = None
    return {"host": socket.gethostname(), "pid_namespace": namespace}


def _died_here(holder: dict[str, object]) -> bool:
    """Whether the holder is known to be dead; False also where that cannot be told from here."""
    pid = holder.get("pid")
    if not isinstance(pid, int) or any(holder.get(k) != v for k, v in _pids_known_here().items()):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # somebody else's process
        return False
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # hidden, as that of others may be
        return False
    return status.rpartition(")")[2].split()[0] == "Z"


def _who(holder: dict[str, object]) -> str:
    job = f"Slurm job {holder['job']}, " if holder.get("job") else ""
    return f"{job}process {holder.get('pid', '?')} on {holder.get('host', '?')}"


def _age(path: Path) -> float:
    """Seconds since `path` was touched, by the clock of its own file system."""
    touched = path.stat().st_mtime
    clock = beside(path, "clock")
    try:
        clock.touch()
        return clock.stat().st_mtime - touched
    finally:
        clock.unlink(missing_ok=True)


def held(path: Path) -> str | None:
    """Who holds the lock file `path`, in words; None where nobody alive does."""
    holder = _holder(path)
    try:
        alive = not _died_here(holder) and _age(path) <= _STALE
    except OSError:  # no such lock, or just given back
        return None
    return _who(holder) if alive else None


def clear_dead(path: Path) -> bool:
    """Remove the lock file `path` where nobody alive holds it; whether it did."""
    holder = _holder(path)
    if not path.exists() or held(path) is not None:
        return False
    with contextlib.suppress(OSError):  # not ours to remove
        _remove_stale(path, holder)
    return not path.exists()


def _remove_stale(path: Path, holder: dict[str, object]) -> None:
    with contextlib.suppress(FileNotFoundError):  # another waiter was faster
        grave = moved_away(path)
        if _holder(grave) != holder:  # a faster waiter's new lock: give it back
            with contextlib.suppress(FileExistsError):
                os.link(grave, path)
        grave.unlink()


def _wait(path: Path, token: str, what: str) -> None:
    touched, since, announced = None, 0.0, False
    while not _create(path, token):
        try:
            last = path.stat().st_mtime
        except FileNotFoundError:
            continue
        now = time.monotonic()
        if last != touched:
            touched, since = last, now
        holder = _holder(path)
        if _died_here(holder) or now - since > _STALE:
            _log.warning("%s: %s is gone; taking over", what, _who(holder))
            _remove_stale(path, holder)
            continue
        if not announced:
            _log.warning("waiting for %s: %s is at it", what, _who(holder))
            announced = True
        time.sleep(_POLL)


@contextlib.contextmanager
def lock(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path`; waits while a living process holds it, and says so.

    Args:
        path: The lock file.
        what: What is locked, for the message.
    """
    token = uuid.uuid4().hex
    _wait(path, token, what)
    done = threading.Event()

    def beat() -> None:
        while not done.wait(_HEARTBEAT):
            with contextlib.suppress(OSError):
                if _holder(path).get("token") == token:  # a successor's is not ours to keep alive
                    os.utime(path)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        if _holder(path).get("token") == token:  # not ours any more if it was taken over
            path.unlink(missing_ok=True)
