"""What lies in the cache, when it was last used, and its removal.

Only what the cache itself has made is known by its name and ever removed; symbolic links are
neither followed nor removed. Nothing is removed that a living process has locked.
"""

import contextlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sparc.storage.locks import clear_dead, held

_NAMED = r"[0-9a-f]{32}"
_ENTRY = re.compile(_NAMED)
_UNFINISHED = re.compile(rf"({_NAMED})\.partial\.safetensors")
_LOCK = re.compile(rf"({_NAMED})\.lock")
_CRUMB = re.compile(rf"\.(.+)\.{_NAMED}\.(tmp|stale|clock)")
_MANIFEST = "manifest.json"
_HOUR, _DAY = 3600.0, 86400.0


@dataclass(frozen=True)
class Item:
    """One thing in a folder of the cache.

    what: entry; unfinished (an attribution that can be gone on with); leftover (of a process that
    was killed); other (not the cache's). bytes: on disk, 0 for what is not looked into. used:
    seconds since the epoch when it was last used.
    """

    path: Path
    what: str
    bytes: int
    used: float

    @property
    def kind(self) -> str:
        """The folder of the cache that it lies in."""
        return self.path.parent.name

    def expired(self, days: float, now: float) -> bool:
        """Whether it may go by its age: that of a leftover is a day."""
        limit = {"entry": days, "unfinished": days, "leftover": 1.0}.get(self.what)
        return limit is not None and now - self.used >= limit * _DAY


def note_use(manifest: Path) -> None:
    """Touch the manifest of an entry that was read, at most once an hour.

    So its time is that of the last use, which the time of access is not where a disk is mounted
    without. In a cache that cannot be written it stays the time of making.
    """
    with contextlib.suppress(OSError):
        if time.time() - manifest.stat().st_mtime > _HOUR:
            os.utime(manifest)


def items(root: Path) -> Iterator[Item]:
    """All that lies in the folders of the cache `root`, in the order of names."""
    for folder in sorted(_scanned(root), key=lambda each: each.name):
        if folder.is_dir(follow_symlinks=False):
            for each in sorted(_scanned(Path(folder.path)), key=lambda each: each.name):
                with contextlib.suppress(FileNotFoundError):  # another process was faster
                    yield _item(Path(each.path), each)


def remove(item: Item) -> bool:
    """Remove an item; False for one that a living process holds, or has used or made anew.

    An entry is moved away first, so that readers find it whole or not at all.
    """
    lock = _lock_of(item)
    if item.what == "other" or (lock is not None and held(lock)):
        return False
    if lock == item.path:
        return clear_dead(lock)
    try:
        if _used(item.path, item.what) != item.used:
            return False
        grave = item.path
        if item.what == "entry":
            grave = item.path.with_name(f".{item.path.name}.{uuid.uuid4().hex}.stale")
            os.rename(item.path, grave)
        shutil.rmtree(grave) if grave.is_dir() else grave.unlink()
    except OSError:  # gone, or not ours to remove
        return not os.path.lexists(item.path)
    return True


def _scanned(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:  # gone, or not ours to read
        return []


def _item(path: Path, found: os.DirEntry[str]) -> Item:
    what = _what(path, found)
    size = found.stat(follow_symlinks=False).st_size
    if found.is_dir(follow_symlinks=False):
        size = 0 if what == "other" else _bytes(path)
    return Item(path, what, size, _used(path, what))


def _what(path: Path, found: os.DirEntry[str]) -> str:
    name = found.name
    if found.is_dir(follow_symlinks=False):
        manifest = path / _MANIFEST
        if _ENTRY.fullmatch(name) and manifest.is_file() and not manifest.is_symlink():
            return "entry"
    elif not found.is_file(follow_symlinks=False):
        return "other"
    elif _UNFINISHED.fullmatch(name):
        return "unfinished"
    elif _LOCK.fullmatch(name):
        return "leftover"
    return "leftover" if _CRUMB.fullmatch(name) else "other"


def _used(path: Path, what: str) -> float:
    return os.lstat(path / _MANIFEST if what == "entry" else path).st_mtime


def _bytes(folder: Path) -> int:
    found = (os.path.join(at, name) for at, _, names in os.walk(folder) for name in names)
    return sum(os.lstat(each).st_size for each in found)


def _lock_of(item: Item) -> Path | None:
    """The lock file of the entry that an item is, or belongs to."""
    name = item.path.name
    if match := (_UNFINISHED.fullmatch(name) or _LOCK.fullmatch(name) or _CRUMB.fullmatch(name)):
        name = match[1]
    name = name.removesuffix(".lock")
    return item.path.with_name(f"{name}.lock") if _ENTRY.fullmatch(name) else None
