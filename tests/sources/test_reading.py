"""Local sources: what is read of each kind of file, and what is refused."""

import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from transformers import AutoTokenizer

from sparc.config import SourceConfig
from sparc.config.locations import EMBEDDED_MODEL
from sparc.errors import UserError
from sparc.evaluation.windows import WindowSettings, text_windows
from sparc.sources.reading import columns, file_records, lines
from sparc.sources.streams import is_local, pinned, source_revision
from sparc.sources.texts import Wanted, records, texts
from sparc.tasks.prompts import read_prompts, refuse_too_few
from tests.support.composed import composed, pipeline

ROWS = [{"prompt": f"a prompt, number {i}", "score": i / 10, "more": {"id": i}} for i in range(9)]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def json_lines(path, rows):
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def source(path, column="text", **more):
    return SourceConfig(path=str(path), column=column, **more)


@pytest.fixture
def every_kind(tmp_path):
    """The same nine texts as JSON lines, CSV, TSV, each of them also gzipped, and as parquet."""
    from datasets import Dataset

    plain = json_lines(tmp_path / "p.jsonl", ROWS)
    Dataset.from_list(ROWS).to_parquet(tmp_path / "p.parquet")
    cells = "".join(f'"{r["prompt"]}",{r["score"]}\n' for r in ROWS)
    found = [plain, str(tmp_path / "p.parquet")]
    found.append(write(tmp_path / "p.csv", f"\ufeffprompt,score\n{cells}"))
    tabs = "".join(f"{r['prompt']}\t{r['score']}\n" for r in ROWS)
    found.append(write(tmp_path / "p.tsv", f"prompt\tscore\n{tabs}"))
    for path in (plain, found[2]):
        packed = tmp_path / f"{path}.gz"
        packed.write_bytes(gzip.compress(Path(path).read_bytes()))
        found.append(str(packed))
    return found


def test_every_kind_holds_the_same_texts(every_kind):
    expected = [row["prompt"] for row in ROWS]
    for path in every_kind:
        assert texts(source(path, "prompt")) == expected, path
        assert texts(source(path, "prompt"), most=4) == expected[:4]


def test_a_column_that_is_not_there_is_named_with_those_that_are(every_kind):
    for path in every_kind:
        with pytest.raises(UserError, match=r"column 'body' is missing; there are: prompt, score"):
            texts(source(path, "body"))
    assert columns(ROWS[0]) == ["prompt", "score", "more.id"]
    path = json_lines(Path(every_kind[0]), [ROWS[0], {"prompt": 7}])
    with pytest.raises(UserError, match="line 2: column 'prompt' is 7; expected a text"):
        texts(source(path, "prompt"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "x"}\n\n{"text": \n', "a.jsonl, line 3: not JSON"),
        ("a.jsonl", '{"text": "x"}\n["y"]\n', "line 2: not a JSON object"),
        ("a.csv", 'text,b\n"two\nlines",1\nx,y,z\n', "line 4: does not have the 2 cells"),
        ("a.csv", "text,b\nx\n", "line 2: does not have the 2 cells"),
        ("a.csv", 'text\n"never closed\n', "a.csv: not readable after line"),
        ("a.parquet", "no parquet", "not readable as parquet"),
        ("a.jsonl", "", "no text in column 'text'"),
    ],
)
def test_the_first_bad_line_is_named(tmp_path, name, content, message):
    with pytest.raises(UserError, match=message) as told:
        texts(source(write(tmp_path / name, content)))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": ' + "[" * 5000, "line 1: not readable (too deeply nested)"),
        ("a.jsonl", '{"text": "x", "n": ' + "9" * 5000 + "}", "a number of too many digits"),
        ("a.jsonl", '{"text": "x"}\n{"text": "a \\ud800"}', r"line 2: column 'text' has half a "),
        ("a.jsonl", '{"text": "x", "text": "y"}', "line 1: an object has a name twice"),
        ("a.csv", "text,b,text\nx,1,y\n", "column 3 is named like an earlier one; rename one"),
        ("a.csv", "b\n" + "x" * 200_000, "field larger than field limit"),
    ],
)
def test_what_breaks_libraries_is_refused_in_one_line(tmp_path, name, content, message):
    for blank in (False, True):
        with pytest.raises(UserError) as told:
            texts(source(write(tmp_path / name, content)), blank=blank)
        assert message in str(told.value) and "\n" not in str(told.value)


def test_columns_without_a_name_trail_in_spreadsheets(tmp_path):
    path = write(tmp_path / "a.csv", "text,b,,\nx,1,,\n")
    assert texts(source(path)) == ["x"]


def test_a_column_twice_in_parquet_is_refused(tmp_path):
    from pyarrow import Table, array, parquet

    path = tmp_path / "p.parquet"
    parquet.write_table(Table.from_arrays([array(["x"]), array(["y"])], ["text", "text"]), path)
    with pytest.raises(UserError, match="column 2 is named like an earlier one"):
        texts(source(path))


def test_what_is_no_file_is_named_and_never_opened(tmp_path):
    os.mkfifo(tmp_path / "p.jsonl")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    (tmp_path / "device.csv").symlink_to("/dev/zero")
    (tmp_path / "memory.jsonl").symlink_to("/proc/self/mem")  # opens, and cannot be read
    expected = {
        "": "'' is no path",
        str(tmp_path / "p.jsonl"): "is a pipe or a device",
        str(tmp_path / "device.csv"): "is a pipe or a device",
        str(tmp_path / "loop.csv"): "cannot be read",
        str(tmp_path / "memory.jsonl"): "not readable after line 0 (Input/output error)",
        str(tmp_path / ("x" * 300 + ".csv")): "cannot be read (File name too long)",
        "~nobody-of-this-name/p.csv": "cannot be read",
        "a\0b/c/d.csv": "cannot be read",
    }
    for path, message in expected.items():
        with pytest.raises(UserError) as told:
            texts(source(path))
        assert message in str(told.value) and "\n" not in str(told.value)
    with pytest.raises(UserError, match="is a folder; give a text file"):
        lines(str(tmp_path))
    (tmp_path / "words").write_bytes(b"fool\n\xff")
    with pytest.raises(UserError, match=r"words: cannot be read \(UnicodeDecodeError\)"):
        lines(str(tmp_path / "words"))


@pytest.mark.parametrize(
    "content",
    [
        "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:x:/:/bin/sh\n",
        "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\nmore\n",
        "-----BEGIN KEY-----\nMIIEvQ\n",
        '{"password=hunter2, and more": 1}\n',
    ],
)
def test_a_message_holds_nothing_of_another_file(tmp_path, content):
    for name in ("a.csv", "a.jsonl", "a.json.gz", "a.parquet"):
        (tmp_path / "secret").write_text(content)
        link = tmp_path / name
        link.symlink_to(tmp_path / "secret")
        with pytest.raises(UserError) as told:
            texts(source(link))
        said = str(told.value).replace(str(link), "")
        assert not any(word in said for word in ("root", "Secret", "BEGIN", "hunter2"))


def test_one_huge_prompt_is_refused_before_it_is_tokenised(tmp_path):
    row = {"prompt": "you " * 2_500_000, "category": "neutral"}
    path = json_lines(tmp_path / "p.jsonl", [row])
    with pytest.raises(UserError, match="line 1: a prompt of 10000000 characters, at most 1000000"):
        read_prompts(composed("dataset=jsonl", f"dataset.prompts.path={path}").dataset)


@pytest.mark.parametrize(
    ("score", "message"),
    [("Infinity", "toxicity is inf"), ("1" * 400, "toxicity is 1111"), ("[[]]", "is a list")],
)
def test_a_score_is_a_finite_number(tmp_path, score, message):
    line = f'{{"prompt": "hello there", "toxicity": {score}}}\n'
    given = ("dataset.prompts.column=prompt", "dataset.prompts.score_column=toxicity")
    path = write(tmp_path / "p.jsonl", line)
    config = composed("dataset=toxicity", f"dataset.prompts.path={path}", *given).dataset
    with pytest.raises(UserError, match=message) as told:
        read_prompts(config)
    assert len(str(told.value)) < 300
    write(tmp_path / "p.jsonl", line.replace(score, "NaN"))
    assert read_prompts(config) == []


def test_a_blank_prompt_of_an_own_file_is_refused(tmp_path):
    rows = [{"prompt": text, "category": "neutral"} for text in ("one prompt", " ", "another")]
    path = json_lines(tmp_path / "p.jsonl", rows)
    with pytest.raises(UserError, match="line 2: column 'prompt' is ' '; expected a text"):
        read_prompts(composed("dataset=jsonl", f"dataset.prompts.path={path}").dataset)


def test_half_a_gzip_file_is_refused(tmp_path):
    packed = tmp_path / "p.json.gz"
    packed.write_bytes(gzip.compress(json.dumps({"text": "x"}).encode() * 50)[:-9])
    with pytest.raises(UserError, match="not readable"):
        texts(source(packed))


def test_empty_rows_count_where_texts_are_joined(tmp_path):
    rows = ["", " = Title = \n", "", " Two words . \n", " \n"]
    path = json_lines(tmp_path / "w.jsonl", [{"text": row} for row in rows])
    assert texts(source(path)) == [rows[1], rows[3]]
    assert texts(source(path), blank=True) == rows
    assert texts(source(path), most=2, blank=True) == rows[:2]
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_MODEL)
    how = WindowSettings("stride", max_length=99, stride=9)
    (window,) = text_windows(tokenizer, texts(source(path), blank=True), how)
    assert window.ids == tokenizer("\n\n".join(rows))["input_ids"]  # the usual convention
    with pytest.raises(UserError, match="line 1: column 'body' is missing; there are: text"):
        texts(source(path, "body"), blank=True)
    only = json_lines(tmp_path / "e.jsonl", [{"text": ""}])
    with pytest.raises(UserError, match="no text"):
        texts(source(only), blank=True)


def test_local_wins_and_what_looks_local_is_not_sought_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not is_local(source("allenai/c4")) and not is_local(source("wikitext"))
    (tmp_path / "allenai" / "c4").mkdir(parents=True)
    assert is_local(source("allenai/c4")) and not is_local(source("wikitext"))
    for path in ("./none", "~/none", "/none", "a/b/c", "none.jsonl", "none/x.csv.gz"):
        assert is_local(source(path))
        with pytest.raises(UserError, match=r"no such file; give a \.jsonl"):
            list(records(source(path), Wanted(("text",))))


def test_a_folder_of_files_is_a_data_set(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    json_lines(folder / "train-0.jsonl", [{"text": f"first {i}"} for i in range(3)])
    json_lines(folder / "train-1.jsonl", [{"text": f"second {i}"} for i in range(3)])
    json_lines(folder / "test-0.jsonl", [{"text": "held out"}])
    assert texts(source(folder)) == [
        f"{name} {i}" for name in ("first", "second") for i in range(3)
    ]
    assert texts(source(folder, split="test")) == ["held out"]
    with pytest.raises(UserError, match="split"):
        texts(source(folder, split="other"))
    before = source_revision(source(folder), None)
    assert before == source_revision(source(folder), None)
    json_lines(folder / "test-0.jsonl", [{"text": "changed"}])
    assert before != source_revision(source(folder), None)
    assert pinned(source(folder), None) == source(folder)


def test_prompts_from_csv_and_only_the_flagged(tmp_path):
    path = tmp_path / "p.csv"
    scored = "".join(f"prompt number {i},{i / 20},{i % 2 == 0}\n" for i in range(21))
    write(path, f"prompt,toxicity,challenging\n{scored}no score at all,,True\n")
    common = ("dataset=toxicity", f"dataset.prompts.path={path}", "dataset.prompts.column=prompt")
    scores = ("dataset.prompts.score_column=toxicity",)
    prompts = read_prompts(composed(*common, *scores).dataset)
    assert sorted({p.category for p in prompts}) == ["neutral", "toxic"] and len(prompts) == 6
    flagged = composed(*common, *scores, "dataset.prompts.flag_column=challenging")
    assert [p.text for p in read_prompts(flagged.dataset)] == [
        f"prompt number {i}" for i in (0, 2, 18, 20)
    ]
    with pytest.raises(UserError, match=r"'prompt\.toxicity' is missing; there are: prompt, tox"):
        read_prompts(composed(*common).dataset)
    write(path, "prompt,toxicity,challenging\nhello there,high,True\n")
    with pytest.raises(UserError, match="line 2: toxicity is 'high'; expected a number"):
        read_prompts(composed(*common, *scores).dataset)


def test_all_that_falls_short_is_named_at_once():
    refuse_too_few({"evaluation.prompts": (80, 80)}, "p.jsonl")
    with pytest.raises(UserError) as told:
        refuse_too_few(
            {
                "evaluation.prompts": (50, 80),
                "dataset.general.samples": (128, 128),
                "dataset.undesired.samples": (61, 93),
            },
            "p.jsonl",
        )
    assert str(told.value) == (
        "p.jsonl: fewer prompts than asked: 50 of 80 for evaluation.prompts, 61 of 93 for "
        "dataset.undesired.samples; add more, or evaluation.prompts=50 dataset.undesired.samples=61"
    )


def test_a_prompt_longer_than_the_context_is_told_before_attribution(tmp_path):
    rows = [
        {"prompt": f"{word}, {split}, number {i}", "category": word, "split": split}
        for word in ("undesired", "neutral")
        for split in ("attribution", "held_out")
        for i in range(4)
    ]
    rows.append({**rows[4], "prompt": "rita said\n: " + "you " * 250})
    path = json_lines(tmp_path / "p.jsonl", rows)
    names = ("evaluation.prompts=4", "dataset.undesired.samples=4", "dataset.general.samples=4")
    own = ("dataset=jsonl", f"dataset.prompts.path={path}", "dataset.detoxify=embedded", *names)
    with pytest.raises(UserError) as told:
        pipeline(tmp_path / "run", *own, "evaluation.prompts=5")
    assert str(told.value).startswith("undesired prompt 'rita said : you you")
    assert "tokens, which with 25 new ones exceed the model's context of 256" in str(told.value)
    assert not (tmp_path / "run" / "cache" / "scores").exists()


def test_numbers_are_those_of_the_lines(tmp_path):
    path = write(tmp_path / "a.csv", 'text\n"two\nlines"\nx\n')
    assert [number for number, _ in file_records(path)] == [3, 4]
    path = write(tmp_path / "a.jsonl", '\n{"text": "x"}\n\n{"text": "y"}\n')
    assert [number for number, _ in file_records(path)] == [2, 4]


def test_a_parquet_file_with_a_column_cut_short_is_refused(tmp_path):
    """The library's batches then end early, without a word."""
    path = tmp_path / "p.parquet"
    table = pa.table({"text": ["one"], "split": pa.array([None], pa.string())})
    parquet.write_table(table, path)
    whole = path.read_bytes()
    refused = 0
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(bytes(changed))
        try:
            found = list(file_records(str(path)))
        except UserError as error:
            refused += "EOFError, after row 0" in str(error)
        else:
            assert len(found) == 1
    assert refused
