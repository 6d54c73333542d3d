"""A content-addressed cache: one folder an entry, verified on reading, whole or not there.

An entry's key is everything that changes its content. Its folder is written under a temporary
name, with a manifest of checksums, and renamed when whole; one process writes while others wait.
"""

import contextlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from sparc.digests import digest, file_digest
from sparc.locks import lock

_MANIFEST = "manifest.json"
_log = logging.getLogger(__name__)
T = TypeVar("T")


class Corrupt(Exception):
    """A cache entry that cannot be trusted; the message says why."""


def _seal(folder: Path, key: Mapping[str, Any]) -> None:
    files = {
        str(path.relative_to(folder)): {"sha256": file_digest(path), "bytes": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    (folder / _MANIFEST).write_text(json.dumps({"key": key, "files": files}, indent=1))


def _verify(folder: Path, key: Mapping[str, Any]) -> None:
    """Raise Corrupt unless every file is there, byte for byte, under this very key."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        stored, files = manifest["key"], manifest["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"unreadable manifest ({type(error).__name__})") from error
    if digest(stored) != digest(key):
        raise Corrupt("the manifest belongs to another key")
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
        return load(folder)
    except Corrupt:
        raise
    except Exception as error:  # any failure to read means that the entry must be made anew
        raise Corrupt(f"{type(error).__name__}: {error}") from error


def _replace(temporary: Path, folder: Path) -> None:
    if folder.exists():
        stale = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.stale")
        os.rename(folder, stale)
        shutil.rmtree(stale, ignore_errors=True)
    os.rename(temporary, folder)


def fetch(
    root: Path,
    kind: str,
    key: Mapping[str, Any],
    *,
    load: Callable[[Path], T],
    save: Callable[[Path], None],
) -> tuple[T, bool]:
    """The entry of `key`, and whether it was there already.

    root: the cache folder; kind: a subfolder, such as `scores`. `save(folder)` computes and
    writes the entry's files; `load(folder)` reads them and may raise Corrupt. Processes that
    want the same entry at once compute it once: the others wait and read.
    """
    folder = root / kind / digest(key)[:32]
    with contextlib.suppress(Corrupt):  # named below, by the one process that repairs it
        value = _read(folder, key, load)
        if value is not None:
            return value, True
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lock(folder.with_name(folder.name + ".lock")):
        try:
            value = _read(folder, key, load)
            if value is not None:
                return value, True
        except Corrupt as error:
            _log.warning("cache entry %s is corrupt (%s): computing it again", folder, error)
        temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
        temporary.mkdir()
        try:
            save(temporary)
            _seal(temporary, key)
            _replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return load(folder), False
