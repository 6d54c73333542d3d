"""What lies in the cache, when it was last used, and its removal.

Only what the cache itself has made is known by its name and ever removed; symbolic links are
neither followed nor removed. Nothing is removed that a living process has locked.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from sparc.storage.artifacts import moved_away
from sparc.storage.cache import MANIFEST
from sparc.storage.locks import clear_dead, held

_NAMED = r"[0-9a-f]{32}"
_ENTRY = re.compile(_NAMED)
_UNFINISHED = re.compile(rf"({_NAMED})\.partial\.safetensors")
_LOCK = re.compile(rf"({_NAMED})\.lock")
_CRUMB = re.compile(rf"\.(.+)\.{_NAMED}\.(tmp|stale|clock)")
_DAY = 86400.0


@dataclass(frozen=True)
class Item:
    """One thing in a folder of the cache."""

    path: Path
    what: str
    """entry, unfinished (an attribution that can be gone on with), leftover (of a process that was
    killed) or other (not the cache's)."""
    bytes: int
    """On disk; 0 for what is not looked into."""
    used: float
    """Seconds since the epoch when it was last used."""

    @property
    def kind(self) -> str:
        """The folder of the cache that it lies in."""
        return self.path.parent.name

    def expired(self, days: float, now: float) -> bool:
        """Whether it may go by its age: that of a leftover is a day."""
        limit = {"entry": days, "unfinished": days, "leftover": 1.0}.get(self.what)
        return limit is not None and now - self.used >= limit * _DAY


def items(root: Path) -> Iterator[Item]:
    """All that lies in the folders of the cache `root`, in the order of names."""
    folders = (each for each in _inside(root) if not each.is_symlink())
    for path in chain.from_iterable(map(_inside, folders)):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            what = _what(path)
            yield Item(path, what, _bytes(path, what), _used(path, what))


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
        grave = moved_away(item.path) if item.what == "entry" else item.path
        shutil.rmtree(grave) if grave.is_dir() else grave.unlink()
    except OSError:  # gone, or not ours to remove
        return not os.path.lexists(item.path)
    return True


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # no folder, gone, or not ours to read
        return []


def _what(path: Path) -> str:
    name, folder = path.name, os.path.isdir(path)
    if path.is_symlink() or not (folder or os.path.isfile(path)):
        return "other"
    manifest = path / MANIFEST
    if folder and _ENTRY.fullmatch(name) and manifest.is_file() and not manifest.is_symlink():
        return "entry"
    if not folder and _UNFINISHED.fullmatch(name):
        return "unfinished"
    crumb = _CRUMB.fullmatch(name) or (not folder and _LOCK.fullmatch(name))
    return "leftover" if crumb else "other"


def _used(path: Path, what: str) -> float:
    return os.lstat(path / MANIFEST if what == "entry" else path).st_mtime


def _bytes(path: Path, what: str) -> int:
    if path.is_symlink() or not os.path.isdir(path):
        return os.lstat(path).st_size
    inside = os.walk(path) if what != "other" else ()
    files = (os.path.join(at, name) for at, _, names in inside for name in names)
    return sum(os.lstat(each).st_size for each in files)


def _lock_of(item: Item) -> Path | None:
    """The lock file of the entry that an item is, or belongs to."""
    name = item.path.name
    if match := (_UNFINISHED.fullmatch(name) or _LOCK.fullmatch(name) or _CRUMB.fullmatch(name)):
        name = match[1]
    name = name.removesuffix(".lock")
    return item.path.with_name(f"{name}.lock") if _ENTRY.fullmatch(name) else None
