"""A content-addressed cache: one folder an entry, verified on reading, whole or not there.

An entry's key is everything that changes its content. Its folder is written under a temporary
name, with a manifest of checksums, and renamed when whole; one process writes while others wait.
"""

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from sparc.errors import UserError
from sparc.storage.artifacts import beside, moved_away, remove
from sparc.storage.digests import digest, file_digest
from sparc.storage.disk import no_space
from sparc.storage.locks import lock

MANIFEST = "manifest.json"
_HOUR = 3600.0
_log = logging.getLogger(__name__)
T = TypeVar("T")


class Corrupt(Exception):
    """A cache entry that cannot be trusted; the message says why."""


def _files(folder: Path) -> dict[str, Path]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path for path in found}


def _seal(folder: Path, key: Mapping[str, Any]) -> None:
    files = {
        name: {"sha256": file_digest(path), "bytes": path.stat().st_size}
        for name, path in _files(folder).items()
    }
    (folder / MANIFEST).write_text(json.dumps({"key": key, "files": files}, indent=1))


def _verify(folder: Path, key: Mapping[str, Any]) -> None:
    """Raise Corrupt unless every file is there, byte for byte, under this very key."""
    if not (folder / MANIFEST).is_file():
        raise Corrupt("no manifest")
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        stored, files = manifest["key"], manifest["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"unreadable manifest ({type(error).__name__})") from error
    if digest(stored) != digest(key):
        raise Corrupt("the manifest belongs to another key")
    for name in _files(folder).keys() - {*files, MANIFEST}:
        raise Corrupt(f"{name} is not in the manifest")
    for name, facts in files.items():
        path = folder / name
        if not path.is_file():
            raise Corrupt(f"{name} is missing")
        if path.stat().st_size != facts["bytes"]:
            raise Corrupt(f"{name} has {path.stat().st_size} bytes, expected {facts['bytes']}")
        if file_digest(path) != facts["sha256"]:
            raise Corrupt(f"{name} does not match its checksum")


def _read(folder: Path, key: Mapping[str, Any], load: Callable[[Path], T]) -> T | None:
    """The entry, or None where there is none. Raises Corrupt for one that cannot be trusted."""
    if not folder.is_dir():
        return None
    try:
        _verify(folder, key)
        _note_use(folder / MANIFEST)
        return load(folder)
    except Corrupt:
        raise
    except Exception as error:  # any failure to read means that the entry must be made anew
        raise Corrupt(f"{type(error).__name__}: {error}") from error


def _note_use(manifest: Path) -> None:
    """Touch the manifest of an entry that was read, at most once an hour.

    So its time is that of the last use, which the time of access is not where a disk is mounted
    without. In a cache that cannot be written it stays the time of making.
    """
    with contextlib.suppress(OSError):
        if time.time() - manifest.stat().st_mtime > _HOUR:
            os.utime(manifest)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left of this entry; call it while holding its lock."""
    for crumb in folder.parent.glob(f".{folder.name}.*"):
        if ".lock." not in crumb.name:  # those belong to waiters
            remove(crumb)


def _write(folder: Path, key: Mapping[str, Any], save: Callable[[Path], None]) -> bool:
    """Make the entry `folder`, whole or not at all; False where another process took over.

    That happens to a process that was suspended so long that it lost the lock and what it had
    written so far.
    """
    temporary = beside(folder, "tmp")
    temporary.mkdir()
    try:
        save(temporary)
        _seal(temporary, key)
        if os.path.lexists(folder):
            remove(moved_away(folder))
        os.rename(temporary, folder)
    except Exception:
        if temporary.is_dir():
            raise
        _log.warning("cache entry %s: another process has taken it over", folder)
        return False
    finally:
        remove(temporary)
    return True


def entry_folder(root: Path, kind: str, key: Mapping[str, Any]) -> Path:
    """Where the entry of `key` is, or would be."""
    return root / kind / digest(key)[:32]


def peek(root: Path, kind: str, key: Mapping[str, Any], *, load: Callable[[Path], T]) -> T | None:
    """The entry of `key` if it is there and whole, else None; nothing is computed or repaired."""
    with contextlib.suppress(Corrupt):
        return _read(entry_folder(root, kind, key), key, load)
    return None


def forget(root: Path, kind: str, key: Mapping[str, Any]) -> None:
    """Remove the entry of `key`. Raises UserError where it cannot be removed."""
    folder = entry_folder(root, kind, key)
    remove(folder)
    if os.path.lexists(folder):
        raise UserError(f"paths.cache={root}: {kind} {folder.name[:8]} cannot be made anew there")


@contextlib.contextmanager
def _locked(root: Path, folder: Path, entry: str) -> Iterator[None]:
    """Hold the lock of an entry that is to be made. Raises UserError where none can be."""
    with contextlib.ExitStack() as stack:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(lock(folder.with_name(folder.name + ".lock"), entry))
        except OSError as error:
            if no_space(error):
                raise
            raise UserError(
                f"paths.cache={root}: {entry} is missing or damaged there and cannot be written "
                f"({error.strerror or error}); set paths.cache to a folder that can"
            ) from error
        yield


def fetch(
    root: Path,
    kind: str,
    key: Mapping[str, Any],
    *,
    load: Callable[[Path], T],
    save: Callable[[Path], None],
) -> tuple[T, bool]:
    """The entry of `key`, and whether it was there already.

    Processes that want the same entry at once compute it once: the others wait and read. What is
    there is only read, so that a read-only cache serves.

    Args:
        root: The cache folder.
        kind: A subfolder, such as `scores`.
        key: Everything that changes the entry's content.
        load: Reads the entry's files from a folder; may raise Corrupt.
        save: Computes and writes them to a folder.

    Raises:
        UserError: The entry is not there and cannot be written.
    """
    value = peek(root, kind, key, load=load)  # a corrupt one is named by the process repairing it
    if value is not None:
        return value, True
    folder = entry_folder(root, kind, key)
    entry = f"{kind} {folder.name[:8]}"
    with _locked(root, folder, entry):
        try:
            value = _read(folder, key, load)
            if value is not None:
                return value, True
        except Corrupt as error:
            _log.warning("cache entry %s is corrupt (%s): computing it again", folder, error)
        _sweep(folder)
        _log.info("computing %s", entry)
        written = _write(folder, key, save)
    return (load(folder), False) if written else fetch(root, kind, key, load=load, save=save)
