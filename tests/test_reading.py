"""Local sources: what is read of each kind of file, and what is refused."""

import gzip
import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from sparc.behaviours.prompts import read_prompts, refuse_too_few
from sparc.behaviours.reading import columns, file_records
from sparc.behaviours.sources import Wanted, records, texts
from sparc.behaviours.streams import is_local, pinned, source_revision
from sparc.config import SourceConfig
from sparc.errors import UserError
from sparc.evaluation.windows import text_windows
from sparc.locations import EMBEDDED_MODEL
from tests.composed import composed, pipeline

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
    (window,) = text_windows(
        tokenizer, texts(source(path), blank=True), convention="stride", max_length=99, stride=9
    )
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
