"""Local files of prompts and texts: JSON lines, CSV (both also gzipped) and parquet."""

import csv
import gzip
import json
import re
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from sparc.errors import UserError

Record = Mapping[str, Any]
_KINDS = ".jsonl, .json.gz, .csv or .parquet file"
_LONGEST_LINE = 100_000_000  # characters; a small gzip file can hold one that fills the memory
_DEEPEST = 8  # objects within objects whose columns are named
_NAME = re.compile(r"\w[\w .()-]{0,39}")  # what reads like a column's name ...
_ONLY_NAME = re.compile(r"\w[\w .()-]{0,19}")  # ... and not like a secret, where it stands alone


def present(path: str) -> Path | None:
    """The file, folder or other thing at `path`; None where nothing is or may be looked at."""
    with suppress(OSError, RuntimeError, ValueError):  # too long, forbidden, no such ~user, NUL
        found = Path(path).expanduser()
        return found if path and found.exists() else None
    return None


def readable(path: str, kinds: str = "file") -> Path:
    """The file at `path`. Raises UserError where there is none, naming the `kinds` wanted.

    Folders, pipes and devices are no files: to read one may never end.
    """
    if not path:
        raise UserError(f"'' is no path; give a {kinds}")
    try:
        file = Path(path).expanduser()
        mode = file.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: no such file; give a {kinds}") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({_reason(error)}); give a {kinds}") from None
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise UserError(f"{path}: is {what}; give a {kinds}")
    return file


def file_records(path: str) -> Iterator[tuple[int, Record]]:
    """(number, record) of every record of a file, numbered from 1; empty lines are skipped.

    The number is that of the line (of a CSV record's last one), in parquet of the row. Raises
    UserError for a file that is not there or not of a known kind, and for the first line that is
    no JSON object or does not fit the CSV header.
    """
    file = readable(path, _KINDS)
    kind = file.name.lower().removesuffix(".gz")
    if kind.endswith(".parquet"):
        return _rows(file)
    return _numbered(file, _cells if kind.endswith((".csv", ".tsv")) else _lines)


def field(record: Record, column: str) -> Any:
    """The value of a column, None without it; a dot steps into an object ("prompt.text")."""
    value: Any = record
    for name in [column] if column in record else column.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def columns(record: Record, depth: int = _DEEPEST) -> list[str]:
    """The names of a record's columns, dotted where they lie in an object."""
    found = []
    for name, value in record.items():
        inner = columns(value, depth - 1) if depth and isinstance(value, Mapping) else []
        found += [f"{name}.{each}" for each in inner] or [name]
    return found


def is_blank(value: Any) -> bool:
    """Whether a cell holds nothing, or white space alone."""
    return value is None or (isinstance(value, str) and not value.strip())


def require(record: Record, column: str, where: str) -> None:
    """Raise UserError that names the columns there are, where a record lacks `column`."""
    if column not in record and column not in columns(record) and field(record, column) is None:
        raise UserError(f"{where}: column '{column}' is missing; there are: {_names(record)}")


def text_of(path: str, number: int, record: Record, column: str, *, blank: bool = False) -> str:
    """The text in a column, empty only if `blank`; a UserError names the line where it is none."""
    where = f"{path}, line {number}"
    require(record, column, where)
    text = field(record, column)
    if not isinstance(text, str) or (is_blank(text) and not blank):
        raise UserError(f"{where}: column '{column}' is {shown(text)}; expected a text")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can hold half a character
        half = f"half a character ({text[error.start]!a}) at {error.start + 1}"
        raise UserError(f"{where}: column '{column}' has {half}; remove it") from None
    return text


def shown(value: Any) -> str:
    """A value as it may stand in a message: short, on one line, never a whole document."""
    if not isinstance(value, str | int | float | None):
        return f"a {type(value).__name__}"
    text = repr(value[:50] if isinstance(value, str) else value)
    return text if len(text) <= 60 else text[:50] + "..."


def lines(path: str) -> list[str]:
    """The lines of a text file that are not empty. Raises UserError where it cannot be read."""
    file = readable(path, "text file")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({_reason(error)}); give a text file") from None
    return [line for line in map(str.strip, text.splitlines()) if line]


def _names(record: Record) -> str:
    """The columns for a message, unless they read like the first line of some other file."""
    names = [str(name) for name in columns(record)]
    like = _NAME if len(names) > 1 else _ONLY_NAME
    if all(like.fullmatch(name) for name in names):
        return ", ".join(names)[:300] or "none"
    return f"{len(names)} that do not read like names of columns"


def _reason(error: Exception) -> str:
    """Why a file cannot be read, in words that hold nothing of the file."""
    return getattr(error, "strerror", None) or type(error).__name__


def _numbered(file: Path, read: Any) -> Iterator[tuple[int, Record]]:
    opener: Any = gzip.open if file.suffix == ".gz" else open
    number = 0
    try:
        # utf-8-sig: spreadsheets begin their files with a mark
        with opener(file, "rt", encoding="utf-8-sig", newline="") as opened:
            for number, record in read(file, _bounded(file, opened)):
                yield number, record
    except csv.Error as error:
        raise UserError(f"{file}: not readable after line {number} ({error})") from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not readable after line {number} ({_reason(error)})") from error


def _bounded(file: Path, opened: Any) -> Iterator[str]:
    for number, line in enumerate(iter(lambda: opened.readline(_LONGEST_LINE), ""), start=1):
        if len(line) == _LONGEST_LINE:
            raise UserError(f"{file}, line {number}: more than {_LONGEST_LINE} characters")
        yield line


def _lines(file: Path, opened: Iterator[str]) -> Iterator[tuple[int, Record]]:
    for number, line in enumerate(opened, start=1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        try:
            record = _JSON.decode(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{where}: not JSON ({error.msg})") from error
        except RecursionError as error:
            raise UserError(f"{where}: not readable (too deeply nested)") from error
        except ValueError as error:  # Python's own limit, and a name that stands twice
            reason = "a name twice" if isinstance(error, _Twice) else "a number of too many digits"
            raise UserError(f"{where}: an object has {reason}") from error
        if not isinstance(record, dict):
            raise UserError(f"{where}: not a JSON object")
        yield number, record


class _Twice(ValueError):
    """An object in which a name stands twice: which value counts, JSON does not say."""


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Twice
    return found


_JSON = json.JSONDecoder(object_pairs_hook=_once_each)


def _cells(file: Path, opened: Iterator[str]) -> Iterator[tuple[int, Record]]:
    tabs = ".tsv" in file.suffixes
    reader = csv.DictReader(opened, strict=True, delimiter="\t" if tabs else ",")
    names = list(reader.fieldnames or ())
    _refuse_twice(file, [name for name in names if name])  # unnamed ones trail in spreadsheets
    for record in reader:
        if None in record or None in record.values():
            cells = f"does not have the {len(names)} cells of the header; quote commas"
            raise UserError(f"{file}, line {reader.line_num}: {cells}")
        yield reader.line_num, record


def _refuse_twice(file: Path, names: list[str]) -> None:
    places = [place for place, name in enumerate(names, start=1) if name in names[: place - 1]]
    if places:
        raise UserError(f"{file}: column {places[0]} is named like an earlier one; rename one")


def _rows(file: Path) -> Iterator[tuple[int, Record]]:
    from pyarrow import parquet  # time that JSON lines need not pay

    number = 0
    try:
        with parquet.ParquetFile(file) as opened:
            _refuse_twice(file, opened.schema_arrow.names)
            batches = (batch.to_pylist() for batch in opened.iter_batches(batch_size=1000))
            for number, record in enumerate(chain.from_iterable(batches), start=1):
                yield number, record
            if number != opened.metadata.num_rows:  # a column is shorter: it ends without a word
                raise EOFError
    except UserError:
        raise
    except Exception as error:  # the library raises whatever it stumbles on in a damaged file
        reason = f"{type(error).__name__}, after row {number}"
        raise UserError(f"{file}: not readable as parquet ({reason})") from error
