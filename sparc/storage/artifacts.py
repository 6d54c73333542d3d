"""Writing files so that a final name never holds half a file."""

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def beside(path: Path, kind: str) -> Path:
    """A name of its own beside `path`, for a process that may be killed while it uses it.

    Args:
        path: The file or folder that it is for.
        kind: tmp (being written), stale (moved away) or clock; `stage=clean` knows them by it.
    """
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.{kind}")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; renamed to `path` when the block ends without an error.

    The block makes a file or a folder of it. A file replaces what `path` was before.
    """
    temporary = beside(path, "tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        remove(temporary)


def moved_away(path: Path) -> Path:
    """Where `path` lies after it was renamed, which only one of several processes can do."""
    grave = beside(path, "stale")
    os.rename(path, grave)
    return grave


def remove(path: Path) -> None:
    """Remove a file or a folder, as far as that can be done."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to `path`, whole or not at all."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON. Raises ValueError for NaN or infinity, which JSON does not have."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_lines(path: Path, records: Iterable[Any]) -> None:
    """Write one JSON record a line."""
    with whole(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, allow_nan=False) + "\n")


def read_lines(path: Path) -> list[Any]:
    """The records of a JSON-lines file."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def read_json(path: Path) -> Any:
    """The content of a JSON file; None where it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
