"""What tests/support/hub_server.py knows: faults, requests, and how files are described."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GOOD_TOKEN = "hf_goodGOODgoodGOODgoodGOODgoodGOOD12"
POOR_TOKEN = "hf_poorPOORpoorPOORpoorPOORpoorPOOR12"  # valid, but without access to gated repos


@dataclass
class Fault:
    """What goes wrong with one repository.

    gated: content only with GOOD_TOKEN. status: this HTTP status for everything. delay: seconds
    before each answer. chunk_seconds: seconds before each 64 KiB of content. truncated: bodies of
    large files end after half of what their length says, each file once or always. busy: so many
    answers are 429, with `retry_after` (seconds). drops: so many requests are dropped unanswered.
    listed: so many more files in the list of all files. rate: bytes a second of that list.
    """

    gated: bool = False
    status: int | None = None
    delay: float = 0.0
    chunk_seconds: float = 0.0
    truncated: str = "never"
    busy: int = 0
    retry_after: int = 1
    drops: int = 0
    listed: int = 0
    rate: float = float("inf")


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    method: str
    path: str
    authorization: str | None
    range: str | None
    status: int


def large(path: Path) -> bool:
    """Whether the hub keeps such a file on another host (as LFS files are)."""
    return path.name.endswith((".safetensors", ".gz", ".parquet", ".jsonl"))


def commit_of(repository: Path) -> str:
    """The commit hash of a served repository: it changes with any file's content."""
    found = hashlib.sha1()
    for path in files(repository):
        found.update(str(path.relative_to(repository)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def files(folder: Path) -> list[Path]:
    """Every file below `folder`, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def entry(path: Path, repository: Path) -> dict[str, Any]:
    """A file or folder as the tree and paths-info routes describe it."""
    name = path.relative_to(repository).as_posix()
    if path.is_dir():
        return {"type": "directory", "oid": hashlib.sha1(name.encode()).hexdigest(), "path": name}
    content = path.read_bytes()
    described = {
        "type": "file",
        "oid": hashlib.sha1(content).hexdigest(),
        "size": len(content),
        "path": name,
    }
    if large(path):
        oid = hashlib.sha256(content).hexdigest()
        described["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 134}
    return described
