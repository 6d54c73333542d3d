"""Data sets of the hub and local folders, streamed by the hub's own library.

Nothing is kept here: `sources` and `sequences` put what was taken from a stream into the cache.
No code of a repository is run: the library has ceased to do so.
"""

import contextlib
import re
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from sparc.config import SourceConfig
from sparc.config.locations import EMBEDDED, looks_local
from sparc.errors import UserError
from sparc.sources.hub import Unreachable, explained, probe, quiet
from sparc.sources.reading import Record, file_records, present
from sparc.storage.artifacts import read_json, write_json
from sparc.storage.digests import digest, file_digest

_READ_ATTEMPTS = 3  # the library's own 20 go on for minutes after the hub has gone
S = TypeVar("S", bound=SourceConfig)


def is_local(source: SourceConfig) -> bool:
    """Whether `path` is a local file or folder; one that is there wins over a hub id.

    A path that only looks like one (./x, a/b/c, x.jsonl) counts, too, so that a misspelt file is
    not looked for on the hub.
    """
    path = source.path
    if not path or path == EMBEDDED or present(path):
        return True
    return looks_local(path)


def place(source: SourceConfig) -> str:
    """How a source is named in errors."""
    return str(source.path) if is_local(source) else f"data set {source.path}"


def identity(source: SourceConfig) -> dict[str, str | None]:
    """What tells one data set of the hub from another."""
    return {name: getattr(source, name) for name in ("path", "config", "split", "revision")}


def pinned(source: S, cache: Path | None, *, newest: bool = False) -> S:
    """The source with a hub data set's revision replaced by its commit hash, else as it is.

    The hub is asked once, and its answer noted in the cache: from then on the note counts, as 64
    jobs behind one address must not all ask. A commit hash is not asked about.

    Args:
        source: Local ones are returned as they are.
        cache: Where notes are kept; None for nowhere.
        newest: Ask again; the note serves where the hub does not answer or refuses.

    Raises:
        UserError: Where there is neither answer nor note.
    """
    if source.path is None or is_local(source) or _is_commit(source.revision):
        return source
    known = noted(source, cache)
    if known is not None and not newest:
        return replace(source, revision=known)
    try:
        commit = probe(source.path, source.revision, place(source), kind="dataset")
    except UserError as error:
        if known is None:
            raise _advised(error, cache) from error
        return replace(source, revision=known)
    note = _note(source, cache)
    if note is not None and noted(source, cache) != commit:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_json(note, {"path": source.path, "revision": source.revision, "commit": commit})
    return replace(source, revision=commit)


def noted(source: SourceConfig, cache: Path | None) -> str | None:
    """The commit hash of a data set as given or as the hub last gave it; None where not known."""
    if _is_commit(source.revision):
        return source.revision
    note = _note(source, cache)
    known = None if note is None else read_json(note)
    asked = {"path": source.path, "revision": source.revision}
    if not isinstance(known, dict) or {**known, **asked} != known:
        return None  # damaged, or another's
    commit = known.get("commit")
    return commit if isinstance(commit, str) and _is_commit(commit) else None


def source_revision(source: SourceConfig, cache: Path | None) -> str:
    """What identifies a source's content: a hub data set's commit hash, or a digest.

    That is the digest of a file's bytes, or of the names, sizes and times of a folder's files.
    Raises UserError as `pinned` does.
    """
    path = present(source.path or "")
    if path and path.is_file():
        try:
            return "sha256:" + file_digest(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if path and path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        stats = [(str(file.relative_to(path)), file.stat()) for file in files]
        return "sha256:" + digest([[name, s.st_size, s.st_mtime_ns] for name, s in stats])
    return str(pinned(source, cache).revision)


def stream(source: SourceConfig, cache: Path | None) -> Any:
    """The records of a source as a `datasets.IterableDataset`, which can be shuffled.

    Raises UserError for what is not there, refused or, with HF_HUB_OFFLINE, forbidden. Iterate
    over it with `numbered`, which explains what goes wrong on the way.
    """
    from datasets import IterableDataset, load_dataset  # seconds that others need not pay

    path, found = str(source.path), present(source.path or "")
    folder = found if found and found.is_dir() else None
    if is_local(source) and not folder:
        file_records(path)  # says that there is no such file
        return IterableDataset.from_generator(_records, gen_kwargs={"path": path})
    if not folder:
        try:  # within seconds; the library would take most of a minute to give up
            probe(path, source.revision, place(source), kind="dataset")
        except Unreachable as error:
            raise _advised(error, cache) from error
    try:
        with _restrained():
            return load_dataset(
                str(folder) if folder else path,
                name=source.config,
                split=source.split,
                revision=None if folder else source.revision,
                streaming=True,
            )
    except Exception as error:
        raise _user_error(error, source, "") from error


def numbered(rows: Any, source: SourceConfig) -> Generator[tuple[int, Record]]:
    """(number, record) of a stream, numbered from 1; a UserError where it breaks off."""
    number = 0
    try:
        with _restrained():
            for row in rows:
                number += 1
                yield number, row
    except UserError:
        raise
    except Exception as error:  # the library raises whatever it stumbles on
        raise _user_error(error, source, f" after row {number}") from error


def _records(path: str) -> Iterator[Record]:
    for _, record in file_records(path):
        yield record


def _is_commit(revision: str | None) -> bool:
    return re.fullmatch("[0-9a-f]{40}", revision or "") is not None


def _note(source: SourceConfig, cache: Path | None) -> Path | None:
    name = digest([source.path, source.revision])[:32]
    return None if cache is None else cache / "revisions" / f"{name}.json"


def _advised(error: UserError, cache: Path | None) -> UserError:
    if not isinstance(error, Unreachable):
        return error
    return UserError(
        f"{error}, and the cache ({cache}) does not hold it: run stage=prefetch where there is a "
        "network, or give a local file"
    )


def _user_error(error: Exception, source: SourceConfig, when: str) -> UserError:
    import httpx

    where, kind = place(source), type(error).__name__
    first = next(iter(str(error).strip().splitlines()), "") or kind
    if isinstance(error, ConnectionError | httpx.RemoteProtocolError | httpx.ReadError):
        return UserError(f"{where}: the download broke off{when} ({first}): start again")
    # Not its causes: the library asks for files that need not be there.
    if isinstance(error, ValueError | FileNotFoundError):
        return UserError(f"{where}: cannot be read{when}: {first[:300]}")
    known = explained(error, str(source.path), where, kind="dataset")
    if isinstance(known, UserError):
        return known
    return UserError(f"{where}: cannot be read{when}: {kind}: {first[:300]}")


@contextlib.contextmanager
def _restrained() -> Iterator[None]:
    """Let the library raise its errors only, and give up in time; as before afterwards."""
    import datasets

    attempts, level = datasets.config.STREAMING_READ_MAX_RETRIES, datasets.logging.get_verbosity()
    datasets.config.STREAMING_READ_MAX_RETRIES = _READ_ATTEMPTS
    datasets.logging.set_verbosity_error()
    try:
        with quiet():
            yield
    finally:
        datasets.config.STREAMING_READ_MAX_RETRIES = attempts
        datasets.logging.set_verbosity(level)
