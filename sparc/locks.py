"""A lock between processes that also holds on shared filesystems.

The lock is a file made with O_EXCL and touched by its holder every few seconds. A waiter takes
it over when the touching stops: it watches the file's time change by its own clock, so that the
clocks of two machines need not agree, and it moves the dead file away by rename, which only one
waiter can win. A holder that died on this very machine is noticed at once.
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

_HEARTBEAT = 5.0
_STALE = 30.0
_POLL = 0.2
_log = logging.getLogger(__name__)


def _create(path: Path, token: str) -> bool:
    holder = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "token": token})
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(holder)
    return True


def _holder(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):  # gone, or its holder is just writing it
        return {}
    return value if isinstance(value, dict) else {}


def _died_here(holder: dict[str, object]) -> bool:
    if holder.get("host") != socket.gethostname() or not isinstance(holder.get("pid"), int):
        return False
    try:
        status = Path(f"/proc/{holder['pid']}/stat").read_text()
    except OSError:
        return Path("/proc/self/stat").exists()
    return status.rpartition(")")[2].split()[0] == "Z"


def _remove_stale(path: Path, holder: dict[str, object]) -> None:
    grave = path.with_name(f".{path.name}.{uuid.uuid4().hex}.stale")
    with contextlib.suppress(FileNotFoundError):  # another waiter was faster
        os.rename(path, grave)
        if _holder(grave) != holder:  # a faster waiter's new lock: give it back
            with contextlib.suppress(FileExistsError):
                os.link(grave, path)
        grave.unlink()


def _wait(path: Path, token: str) -> None:
    seen: tuple[float, float] | None = None
    announced = False
    while not _create(path, token):
        try:
            changed = path.stat().st_mtime
        except FileNotFoundError:
            continue
        now = time.monotonic()
        if seen is None or seen[0] != changed:
            seen = (changed, now)
        holder = _holder(path)
        if _died_here(holder) or now - seen[1] > _STALE:
            _log.warning("lock %s: its holder %s is gone; taking over", path.name, holder)
            _remove_stale(path, holder)
            continue
        if not announced:
            _log.warning("waiting for another process to finish %s (%s)", path.stem, holder)
            announced = True
        time.sleep(_POLL)


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; waits while a living process holds it."""
    token = uuid.uuid4().hex
    _wait(path, token)
    done = threading.Event()

    def beat() -> None:
        while not done.wait(_HEARTBEAT):
            with contextlib.suppress(OSError):
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
