"""Local files of prompts and texts: JSON lines, CSV (both also gzipped) and parquet."""

import csv
import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sparc.errors import UserError

Record = Mapping[str, Any]
_KINDS = ".jsonl, .json.gz, .csv or .parquet file"


def file_records(path: str) -> Iterator[tuple[int, Record]]:
    """(number, record) of every record of a file, numbered from 1; empty lines are skipped.

    The number is that of the line (of a CSV record's last one), in parquet of the row. Raises
    UserError for a file that is not there or not of a known kind, and for the first line that is
    no JSON object or does not fit the CSV header.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"{path}: no such file; give a {_KINDS}")
    kind = file.name.lower().removesuffix(".gz")
    if kind.endswith(".parquet"):
        return _rows(file)
    return _told(file, _cells if kind.endswith((".csv", ".tsv")) else _lines)


def field(record: Record, column: str) -> Any:
    """The value of a column, None without it; a dot steps into an object ("prompt.text")."""
    value: Any = record
    for name in [column] if column in record else column.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def columns(record: Record) -> list[str]:
    """The names of a record's columns, dotted where they lie in an object."""
    found = []
    for name, value in record.items():
        inner = columns(value) if isinstance(value, Mapping) else []
        found += [f"{name}.{each}" for each in inner] or [name]
    return found


def require(record: Record, column: str, where: str) -> None:
    """Raise UserError that names the columns there are, where a record lacks `column`."""
    if column not in record and column not in columns(record) and field(record, column) is None:
        there = ", ".join(columns(record)) or "none"
        raise UserError(f"{where}: column '{column}' is missing; there are: {there}")


def text_of(path: str, number: int, record: Record, column: str) -> str:
    """The text in a column. Raises UserError that names the line where there is none."""
    where = f"{path}, line {number}"
    require(record, column, where)
    text = field(record, column)
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{where}: column '{column}' is {text!r}"[:150] + "; expected a text")
    return text


def lines(path: str) -> list[str]:
    """The lines of a text file that are not empty. Raises UserError where there is no such file."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"{path}: no such file")
    found = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    return [line for line in found if line]


def _told(file: Path, read: Any) -> Iterator[tuple[int, Record]]:
    opener: Any = gzip.open if file.suffix == ".gz" else open
    number = 0
    # utf-8-sig: spreadsheets begin their files with a mark
    with opener(file, "rt", encoding="utf-8-sig", newline="") as opened:
        try:
            for number, record in read(file, opened):
                yield number, record
        except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, csv.Error) as error:
            reason = f"{error if isinstance(error, csv.Error) else type(error).__name__}"
            raise UserError(f"{file}: not readable after line {number} ({reason})") from error


def _lines(file: Path, opened: Any) -> Iterator[tuple[int, Record]]:
    for number, line in enumerate(opened, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{file}, line {number}: not JSON ({error.msg})") from error
        if not isinstance(record, dict):
            raise UserError(f"{file}, line {number}: not a JSON object")
        yield number, record


def _cells(file: Path, opened: Any) -> Iterator[tuple[int, Record]]:
    tabs = ".tsv" in file.suffixes
    reader = csv.DictReader(opened, strict=True, delimiter="\t" if tabs else ",")
    for record in reader:
        where = f"{file}, line {reader.line_num}"
        if None in record or None in record.values():
            width = len(reader.fieldnames or ())
            raise UserError(f"{where}: does not have the {width} cells of the header; quote commas")
        yield reader.line_num, record


def _rows(file: Path) -> Iterator[tuple[int, Record]]:
    from pyarrow import ArrowException, parquet  # time that JSON lines need not pay

    try:
        with parquet.ParquetFile(file) as opened:
            number = 0
            for batch in opened.iter_batches(batch_size=1000):
                for record in batch.to_pylist():
                    number += 1
                    yield number, record
    except (ArrowException, OSError) as error:
        raise UserError(f"{file}: not readable as parquet ({error})"[:300]) from error
