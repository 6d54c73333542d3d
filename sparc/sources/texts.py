"""Prompts and texts from local files, local folders and data sets of the hub.

What is taken from the hub is kept in the cache, under the data set's commit hash, with a note of
that hash: a second run asks the hub for nothing. So fetching ahead (`stage=prefetch`) is calling
these functions where there is a network.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sparc.config import SourceConfig
from sparc.errors import UserError
from sparc.sources.reading import (
    Record,
    field,
    file_records,
    present,
    require,
    text_of,
    whole_characters,
)
from sparc.sources.streams import identity, is_local, numbered, pinned, place, stream
from sparc.storage.artifacts import read_lines, write_lines
from sparc.storage.cache import fetch

_KIND, _FILE = "records", "records.jsonl"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """What is taken of a source: of its first records these columns."""

    columns: tuple[str, ...]
    required: int = 1
    """So many columns, the first ones, must be there."""
    most: int | None = None
    """Records; None for all."""
    blank: bool = True
    """Whether a record counts whose first column is an empty text (WikiText's paragraphs)."""


def records(
    source: SourceConfig, wanted: Wanted, cache: Path | None = None
) -> Iterator[tuple[int, Record]]:
    """(number, record) of what is wanted of a source, numbered as in the source.

    A record of the hub holds the wanted columns only, under their dotted names, and comes from
    the cache, where there is one. Raises UserError for what cannot be read or fetched, and for a
    required column that the first record lacks.
    """
    if is_local(source):
        file = present(str(source.path))
        local = numbered(stream(source, cache), source) if file and file.is_dir() else None
        yield from _chosen(local or file_records(str(source.path)), source, wanted)
        return
    source = pinned(source, cache)
    if cache is None:
        yield from _fetched(source, wanted, cache)
        return

    def save(folder: Path) -> None:
        _log.info("%s: reading it from the hub", place(source))
        write_lines(folder / _FILE, _fetched(source, wanted, cache))

    found, _ = fetch(cache, _KIND, _key(source, wanted), load=_load, save=save)
    yield from found


def texts(
    source: SourceConfig, cache: Path | None = None, most: int | None = None, *, blank: bool = False
) -> list[str]:
    """The first `most` texts of a source, None for all; empty ones count if `blank`.

    With `blank` the texts are all rows as they are, so that joined by an empty line they are the
    text of the usual WikiText-2 perplexity, "\\n\\n".join(rows). Raises UserError for a column
    that is missing or holds no text, naming the line, and for a source without any text.
    """
    wanted = Wanted((source.column,), most=most, blank=blank)
    found: list[str] = []
    for number, record in records(source, wanted, cache):
        text = field(record, source.column)
        if blank and isinstance(text, str):
            whole_characters(text, f"{place(source)}, line {number}: column '{source.column}'")
        else:
            text = text_of(place(source), number, record, source.column)
        found.append(text)
    if not any(text.strip() for text in found):
        raise UserError(f"{place(source)}: no text in column '{source.column}'")
    return found


def _chosen(
    rows: Iterator[tuple[int, Record]], source: SourceConfig, wanted: Wanted
) -> Iterator[tuple[int, Record]]:
    def chosen() -> Iterator[tuple[int, Record]]:
        for position, (number, record) in enumerate(rows):
            if position == 0:
                for column in wanted.columns[: wanted.required]:
                    require(record, column, f"{place(source)}, line {number}")
            text = field(record, wanted.columns[0])
            if wanted.blank or not isinstance(text, str) or text.strip():
                yield number, record

    return islice(chosen(), wanted.most)


def _fetched(
    source: SourceConfig, wanted: Wanted, cache: Path | None
) -> Iterator[tuple[int, Record]]:
    with closing(numbered(stream(source, cache), source)) as rows:
        for number, record in _chosen(rows, source, wanted):
            yield number, {name: _plain(field(record, name)) for name in wanted.columns}


def _plain(value: Any) -> Any:
    """The value as JSON has it; None for a NaN, which stands for an empty cell."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _key(source: SourceConfig, wanted: Wanted) -> dict[str, Any]:
    return {**identity(source), **vars(wanted), "columns": list(wanted.columns), "version": 1}


def _load(folder: Path) -> list[tuple[int, Record]]:
    return [(int(number), record) for number, record in read_lines(folder / _FILE)]
