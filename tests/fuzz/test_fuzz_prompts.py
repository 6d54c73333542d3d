"""Prompt files, whole and damaged: served as a plain reading finds them, or refused in one line."""

import csv
import gzip
import io
import json
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from sparc.config import DatasetConfig, PromptsConfig
from sparc.config.evaluation import SPLITS
from sparc.errors import UserError
from sparc.sources.leaks import normalised
from sparc.tasks.prompts import read_prompts, split_of
from tests.fuzz.budget import budget, case

CATEGORIES = ["undesired", "neutral"]
COLUMNS = ("prompt", "category", "split")
Row = dict[str, Any]
Found = list[tuple[str, str, str]]


def _json_lines(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _packed(rows: list[Row]) -> bytes:
    return gzip.compress(_json_lines(rows), mtime=0)


def _cells(rows: list[Row]) -> bytes:
    made = io.StringIO(newline="")
    writer = csv.DictWriter(made, COLUMNS, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return made.getvalue().encode()


def _parquet(rows: list[Row]) -> bytes:
    made = io.BytesIO()
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), made)
    return made.getvalue()


WRITERS: dict[str, Callable[[list[Row]], bytes]] = {
    "p.jsonl": _json_lines,
    "p.json.gz": _packed,
    "p.csv": _cells,
    "p.parquet": _parquet,
}


def _plainly(name: str, data: bytes) -> list[Row]:
    """The records as the plainest reading has them; raises whatever it stumbles on."""
    if name == "p.parquet":
        return list(parquet.read_table(io.BytesIO(data)).to_pylist())
    plain = gzip.decompress(data) if name == "p.json.gz" else data
    # Python takes a file that is a part of the mark for an empty one.
    text = "" if plain in (b"\xef", b"\xef\xbb") else plain.decode("utf-8-sig")
    if name == "p.csv":
        cells = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
        return [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [json.loads(line) for line in lines if line.strip()]


def _expected(rows: list[Row]) -> Found:
    """What the records say: near-duplicates once, each with its category and split."""
    found: dict[str, tuple[str, str, str]] = {}
    for row in rows:
        text, category = row["prompt"], row["category"]
        split = row.get("split") or split_of(text)
        assert isinstance(text, str) and text.strip() and category in CATEGORIES
        assert split in SPLITS
        # the first of near-duplicates, at the place of the last
        first = found.pop(normalised(text), (text, category, split))
        found[normalised(text)] = first
        assert first[2] == split
    return list(found.values())


def _read(name: str, data: bytes) -> Found | str:
    """What the reader serves, or how it refuses."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        config = DatasetConfig(categories=CATEGORIES, prompts=PromptsConfig(path=str(path)))
        try:
            return [(each.text, each.category, each.split) for each in read_prompts(config)]
        except UserError as error:
            return str(error)


def _judge(kind: str, name: str, data: bytes, *, clean: bool = False) -> None:
    with case(f"prompt files, {kind}"):
        found = _read(name, data)
    if isinstance(found, str):
        assert not clean, found
        assert "\n" not in found and len(found) < 500, found
        return
    assert found == _expected(_plainly(name, data))


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).filter(
    lambda text: text.strip() and normalised(text)
)
rows = st.lists(
    st.fixed_dictionaries({"prompt": texts, "category": st.sampled_from(CATEGORIES)}),
    min_size=1,
    max_size=8,
    unique_by=lambda row: normalised(row["prompt"]),
)
names = st.sampled_from(sorted(WRITERS))
splits = st.none() | st.sampled_from(SPLITS)


@budget(20, 1000)
@given(names, rows, st.data())
def test_a_sound_file_is_served_as_it_is(name: str, made: list[Row], data: st.DataObject) -> None:
    full = [{**row, "split": data.draw(splits)} for row in made]
    _judge("sound", name, WRITERS[name](full), clean=True)
    assert _read(name, WRITERS[name](full)) == _expected(full)


def _damaged(data: bytes, draw: st.DataObject) -> bytes:
    """A few bytes of a file flipped, cut off, doubled or put in."""
    changed = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 4))):
        place = draw.draw(st.integers(0, max(len(changed) - 1, 0)))
        end = min(place + draw.draw(st.integers(1, 30)), len(changed))
        what = draw.draw(st.sampled_from(["flip", "cut", "drop", "double", "insert"]))
        if what == "flip" and changed:
            changed[place] ^= draw.draw(st.integers(1, 255))
        elif what == "cut":
            del changed[place:]
        elif what == "drop":
            del changed[place:end]
        elif what == "double":
            changed[place:place] = changed[place:end]
        else:
            changed[place:place] = draw.draw(st.sampled_from(INSERTED))
    return bytes(changed)


INSERTED = [
    b'"',
    b",",
    b"\n",
    b"\r",
    b"\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"[" * 3000,
    b"9" * 5000,
    b"NaN",
    b"-Infinity",
    b'{"prompt": 1}\n',
    b'"prompt": "twice", ',
    b"\xef\xbb\xbf",
]


@budget(30, 3000)
@given(names, rows, st.data())
def test_a_damaged_file_is_served_alike_or_refused(
    name: str, made: list[Row], data: st.DataObject
) -> None:
    whole = WRITERS[name]([{**row, "split": None} for row in made])
    _judge("damaged", name, _damaged(whole, data))


# Values that are no prompt, category or split, and records that are none.
odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.sampled_from(["", "  ", "\ud800", "undesired", "held_out", "a" * 1_000_001, "x" * 200_000]),
    st.recursive(st.none(), lambda inner: st.lists(inner, max_size=2), max_leaves=4),
    st.dictionaries(st.sampled_from(COLUMNS), st.integers(), max_size=2),
)


@budget(15, 1000)
@given(rows, st.lists(st.dictionaries(st.sampled_from(COLUMNS), odd, max_size=3), max_size=3))
def test_records_of_odd_values_are_served_alike_or_refused(
    made: list[Row], other: list[Row]
) -> None:
    data = _json_lines([*made, *other])
    for name, each in (("p.jsonl", data), ("p.json.gz", gzip.compress(data, mtime=0))):
        _judge("odd values", name, each)


@budget(10, 500)
@given(names, st.binary(max_size=300))
def test_any_bytes_are_refused_or_hold_what_they_say(name: str, data: bytes) -> None:
    _judge("any bytes", name, data)
    packed = zlib.compressobj(wbits=31)
    _judge("any bytes", "p.json.gz", packed.compress(data) + packed.flush())
