"""Behaviours from files: what is read, what is refused, and three splits that share nothing."""

import gzip
import json

import pytest

from sparc.behaviours.candidates import candidates
from sparc.behaviours.prompts import SPLITS, of, read_prompts, split_of
from sparc.behaviours.reading import lines, texts
from sparc.behaviours.repetition import cut_before_loop
from sparc.config import EvaluationConfig
from sparc.datasets import GENERAL, UNDESIRED, load_dataset
from sparc.errors import UserError
from sparc.leaks import leaked, normalised
from tests.composed import composed


def rows(count=90, categories=("undesired", "neutral")):
    return [
        {"prompt": f"{category} prompt with number {i}", "category": category}
        for i in range(count)
        for category in categories
    ]


def write(path, records):
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records))
    return path


def settings(path, *overrides):
    return composed("dataset=jsonl", f"dataset.prompts.path={path}", *overrides)


def load(path, *overrides):
    config = settings(path, *overrides)
    return load_dataset(config.dataset, config.evaluation)


def test_splits_share_no_prompt_and_are_thirds(tmp_path):
    records = rows()
    prompts = read_prompts(settings(write(tmp_path / "p.jsonl", records)).dataset)
    sets = [{p.text for p in prompts if p.split == split} for split in SPLITS]
    assert sum(map(len, sets)) == len(set.union(*sets)) == 180
    assert all(40 < len(each) < 80 for each in sets)
    assert split_of("Hello,  World!") == split_of("hello world")
    again = read_prompts(settings(write(tmp_path / "q.jsonl", records[::-1])).dataset)
    assert {(p.text, p.split) for p in again} == {(p.text, p.split) for p in prompts}


def test_near_duplicates_count_once_and_splits_are_honoured(tmp_path):
    records = [*rows(), {"prompt": "Undesired PROMPT with number 3!", "category": "undesired"}]
    assert len(read_prompts(settings(write(tmp_path / "p.jsonl", records)).dataset)) == 180
    for record in records:
        record["split"] = "attribution" if record["prompt"].endswith("1") else "held_out"
    prompts = read_prompts(settings(write(tmp_path / "p.jsonl", records)).dataset)
    assert of(prompts, "attribution", "neutral")[0] == "neutral prompt with number 1"
    assert of(prompts, "validation", "neutral") == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", "line 3: not JSON"),
        ("[1, 2]", "line 3: not a JSON object"),
        ({"category": "neutral"}, "line 3: column 'prompt' is missing"),
        ({"prompt": "  ", "category": "neutral"}, "line 3: column 'prompt' is '  '"),
        ({"prompt": 7, "category": "neutral"}, "line 3: column 'prompt' is 7"),
        ({"prompt": "a b c", "category": "odd"}, "line 3: category is 'odd'"),
        ({"prompt": "a b c"}, "line 3: category is None"),
        ({"prompt": "a b c", "category": "neutral", "split": "test"}, "line 3: split 'test'"),
        (
            {"prompt": "A prompt.", "category": "neutral", "split": "attribution"},
            "line 3: the same prompt is already in split 'held_out'",
        ),
    ],
)
def test_the_first_bad_line_is_named(tmp_path, line, message):
    first = {"prompt": "a prompt", "category": "neutral", "split": "held_out"}
    records = [first, "", line, "also {bad"]
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        load(write(tmp_path / "p.jsonl", records))


def test_missing_parts_are_named(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load(tmp_path / "none.jsonl")
    only = write(tmp_path / "p.jsonl", rows(categories=("undesired",)))
    with pytest.raises(UserError, match="no general references"):
        load(only)
    general = write(tmp_path / "g.jsonl", [{"text": f"some text {i}"} for i in range(9)])
    with pytest.raises(UserError, match="no text for perplexity"):
        load(only, f"dataset.general.path={general}")
    with pytest.raises(UserError, match="mode=cut"):
        load(only, "dataset.undesired.mode=cut")


def test_references_prompts_and_texts_of_files(tmp_path):
    path = write(tmp_path / "p.jsonl", rows())
    dataset = load(path, "evaluation.prompts=12", "dataset.undesired.samples=7")
    assert {name: len(each) for name, each in dataset.prompts.items()} == {
        "undesired": 12,
        "neutral": 12,
    }
    assert all(split_of(p) == "held_out" for each in dataset.prompts.values() for p in each)
    first, second = (dataset.references(UNDESIRED, seed) for seed in (0, 1))
    assert len(first) == 7 and first == dataset.references(UNDESIRED, 0) and first != second
    assert all(split_of(each.text) == "attribution" for each in dataset.references(GENERAL, 0))
    long = write(tmp_path / "g.jsonl", [{"a": {"b": "word " * 50 + str(i)}} for i in range(20)])
    dataset = load(
        path,
        f"dataset.general.path={long}",
        "dataset.general.column=a.b",
        "dataset.general.mode=cut",
        "dataset.general.max_words=30",
        f"dataset.texts.benign.path={long}",
        "dataset.texts.benign.column=a.b",
        f"dataset.texts.others=[{{name: news, path: {long}, column: a.b}}]",
        "evaluation.perplexity.documents=4",
    )
    assert all(15 <= len(each.text.split()) < 30 for each in dataset.references(GENERAL, 0))
    assert {name: len(each) for name, each in dataset.texts.items()} == {
        "general": 4,
        "benign": 4,
        "news": 4,
    }


def test_gzip_and_parquet_hold_the_same(tmp_path):
    from datasets import Dataset

    plain = write(tmp_path / "p.jsonl", rows(5))
    packed = tmp_path / "p.json.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    Dataset.from_list(rows(5)).to_parquet(tmp_path / "p.parquet")
    expected = texts(str(plain), "prompt")
    assert len(expected) == 10
    assert texts(str(packed), "prompt") == texts(str(tmp_path / "p.parquet"), "prompt") == expected
    packed.write_bytes(packed.read_bytes()[:-30])
    with pytest.raises(UserError, match="not readable"):
        texts(str(packed), "prompt")


def test_wikitext_paragraph_marks_are_no_texts(tmp_path):
    path = write(tmp_path / "w.jsonl", [{"text": t} for t in ("", " = Title = \n", "", " \n", "x")])
    assert texts(str(path), "text") == [" = Title = \n", "x"]
    with pytest.raises(UserError, match="line 1: column 'body' is missing"):
        texts(str(path), "body")


def test_toxicity_takes_categories_from_scores(tmp_path):
    records = [
        {"prompt": {"text": f"prompt with score {i}", "toxicity": i / 600}} for i in range(601)
    ]
    records.append({"prompt": {"text": "never scored at all", "toxicity": None}})
    path = write(tmp_path / "rtp.jsonl", records)
    config = composed("dataset=toxicity", f"dataset.prompts.path={path}")
    dataset = load_dataset(config.dataset, config.evaluation)
    toxic, neutral = (
        [int(p.split()[-1]) for p in dataset.prompts[name]] for name in ("toxic", "neutral")
    )
    assert min(toxic) >= 540 and max(neutral) <= 60 and len(toxic) > 8 < len(neutral)
    assert config.dataset.primary_metric == "expected_max"


def test_leaks_are_counted():
    attributed = ["You are a  rude one .", "short", "a longer text that was attributed"]
    repeated = [
        "you are a rude one",
        "YOU ARE, a rude one!",
        "He said: you are a rude one, and left",
        "A longer text",
        "Short!",
    ]
    fresh = ["you are a rude onerous man", "in short it is", "a longer", "text that was attributed"]
    assert leaked(repeated, attributed) == len(repeated)
    assert leaked(fresh, attributed) == 0
    assert normalised("Café\u00a0 NO.\u00b2!") == "café no 2" and normalised("?!  !") == "?! !"


def test_a_planted_leak_is_refused(tmp_path):
    path = write(tmp_path / "p.jsonl", rows())
    clean = load(path)
    leaks = [f"Well -- {p.upper()} ..." for p in clean.prompts["undesired"][:3]]
    own = write(tmp_path / "r.jsonl", [{"text": t} for t in [*leaks, "something of its own"]])
    count = len(clean.prompts["undesired"]) + len(clean.prompts["neutral"])
    # a reference that goes on after the prompt gives it away just as well
    own_after = [{"text": f"{p} and then more"} for p in clean.prompts["neutral"][:2]]
    after = write(tmp_path / "a.jsonl", own_after)
    with pytest.raises(UserError, match=f"2 of {count} evaluation prompts repeat"):
        load(path, f"dataset.general.path={after}")
    load(path, f"dataset.undesired.path={own}")  # the prompt is inside: nothing is shown whole
    inside = [{"text": p.upper()} for p in clean.prompts["undesired"][:3]]
    write(own, inside)
    with pytest.raises(UserError, match=f"3 of {count} .*evaluation.in_sample=true"):
        load(path, f"dataset.undesired.path={own}")
    load(path, f"dataset.undesired.path={own}", "evaluation.in_sample=true")


def test_attributed_prompts_are_evaluated_only_in_sample(tmp_path):
    path = write(tmp_path / "p.jsonl", rows())
    with pytest.raises(UserError, match="in_sample=true"):
        settings(path, "evaluation.split=attribution")
    both = ("evaluation.split=attribution", "evaluation.in_sample=true")
    dataset = load(path, *both)
    attributed = {each.text for each in dataset.references(UNDESIRED, 0)}
    assert set(dataset.prompts["undesired"]) <= attributed


@pytest.mark.parametrize("split", ["validation", "held_out"])
def test_the_embedded_data_do_not_leak(split):
    config = composed(f"evaluation.split={split}")
    assert load_dataset(config.dataset, config.evaluation).revision()["prompts"]["rude"]["count"]


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("realtoxicityprompts", (25, 20, 1.0, 0.9, 0)),
        ("reproduction", (1, 50, 0.7, 0.9, 50)),
        ("greedy20", (1, 20, 0.0, 1.0, 0)),
        ("greedy50", (1, 50, 0.0, 1.0, 0)),
    ],
)
def test_presets(preset, expected):
    evaluation = composed(f"evaluation={preset}").evaluation
    assert tuple(vars(evaluation.sampling).values()) == expected
    assert evaluation.scorers == ["detoxify", "lexicon"] and evaluation.threshold == 0.5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluation.scorers=[classifier]", "evaluation.classifier.path is not set"),
        ("evaluation.scorers=[lexicon,lexicon]", "twice"),
        ("evaluation.perplexity.documents=0", "must be 1 or more"),
        ("evaluation.lm_eval.include_path=/none", "no such folder"),
        ("dataset.neutral_category=nobody", "must be one of"),
        ("dataset.uniqueness=1", "between 0 and 1"),
        ("pruning.curve=[8,-1]", "negative"),
        ("pruning.curve=[8,9999]", "only 2367"),
        ("evaluation.on_failure=ignore", "must be one of"),
        ("evaluation.baseline=never", "must be one of"),
    ],
)
def test_impossible_values(override, message):
    with pytest.raises(UserError, match=message):
        composed(override)


def test_candidates_and_the_cut_before_a_loop():
    assert len(set(map(normalised, candidates()))) == len(candidates()) == 280
    assert len({split_of(prompt) for prompt in candidates()}) == 3
    assert cut_before_loop("a b a b a b", 0.5) == "a b a"
    assert cut_before_loop("a b c d", 0.5) == "a b c d"


def test_lexicon_file(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("Idiot\n\n shut up \n")
    assert lines(str(path)) == ["Idiot", "shut up"]
    assert EvaluationConfig().lexicon.path is None
