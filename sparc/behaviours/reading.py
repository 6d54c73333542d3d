"""Local files of prompts and texts: JSON lines (also gzipped) and parquet."""

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sparc.errors import UserError

Record = Mapping[str, Any]


def records(path: str) -> Iterator[tuple[int, Record]]:
    """(number, record) of every line or row of a file, numbered from 1; empty lines are skipped.

    Raises UserError for a file that is not there or not of a known kind, and for the first line
    that is no JSON object.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"{path}: no such file; give a .jsonl, .json.gz or .parquet file")
    if file.suffix == ".parquet":
        yield from _rows(file)
    else:
        yield from _lines(file)


def field(record: Record, column: str) -> Any:
    """The value of a column, None without it; a dot steps into an object ("prompt.text")."""
    value: Any = record
    for name in [column] if column in record else column.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def text_of(path: str, number: int, record: Record, column: str) -> str:
    """The text in a column. Raises UserError that names the line where there is none."""
    text = field(record, column)
    if not isinstance(text, str) or not text.strip():
        found = "is missing" if text is None else f"is {text!r}"[:60]
        raise UserError(f"{path}, line {number}: column '{column}' {found}; expected a text")
    return text


def texts(path: str, column: str, most: int | None = None) -> list[str]:
    """The first `most` texts of a file that are not empty, None for all.

    Raises UserError for a column that is missing or holds no text, naming the line, and for a
    file without any text.
    """
    found: list[str] = []
    for number, record in records(path):
        if most is not None and len(found) == most:
            break
        if field(record, column) == "" or str(field(record, column) or "x").isspace():
            continue  # WikiText marks paragraphs so
        found.append(text_of(path, number, record, column))
    if not found:
        raise UserError(f"{path}: no text in column '{column}'")
    return found


def lines(path: str) -> list[str]:
    """The lines of a text file that are not empty. Raises UserError where there is no such file."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"{path}: no such file")
    found = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    return [line for line in found if line]


def _lines(file: Path) -> Iterator[tuple[int, Record]]:
    opener: Any = gzip.open if file.suffix == ".gz" else open
    with opener(file, "rt", encoding="utf-8") as lines:
        number = 0
        try:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise UserError(f"{file}, line {number}: not a JSON object")
                yield number, record
        except json.JSONDecodeError as error:
            raise UserError(f"{file}, line {number}: not JSON ({error.msg})") from error
        except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
            reason = f"{type(error).__name__} after line {number}"
            raise UserError(f"{file}: not readable as UTF-8 JSON lines ({reason})") from error


def _rows(file: Path) -> Iterator[tuple[int, Record]]:
    from datasets import load_dataset  # seconds that JSON lines need not pay

    # streaming reads the file where it is; otherwise it would be copied into a cache first
    rows = load_dataset("parquet", data_files=str(file), split="train", streaming=True)
    yield from enumerate(rows, start=1)
