"""Behaviours from files: what is read, what is refused, and three splits that share nothing."""

import pytest

from sparc.config import GENERAL, UNDESIRED, EvaluationConfig
from sparc.config.evaluation import SPLITS
from sparc.errors import UserError
from sparc.sources.leaks import normalised
from sparc.sources.reading import lines
from sparc.tasks.prompts import read_prompts, split_of, texts_of
from sparc.tasks.repetition import candidates
from tests.support.composed import composed
from tests.support.prompt_files import LOCAL_TOXICITY, load, rows, settings, write


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
    config = settings(write(tmp_path / "p.jsonl", records)).dataset
    prompts = read_prompts(config)
    first = texts_of(prompts, config, "attribution", "neutral")[0]
    assert first == "neutral prompt with number 1"
    assert texts_of(prompts, config, "validation", "neutral") == []


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
    with pytest.raises(UserError, match=r"fewer prompts than asked: 9 of 20 for dataset.general"):
        load(only, f"dataset.general.path={general}", f"dataset.texts.general.path={general}")
    with pytest.raises(UserError, match="no prompts to find undesired responses to"):
        load(
            write(tmp_path / "n.jsonl", [{**row, "split": "held_out"} for row in rows()]),
            "dataset.undesired.mode=response",
            f"dataset.general.path={general}",
        )
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
    long = write(tmp_path / "g.jsonl", [{"a": {"b": f"{i} " + "word " * 50}} for i in range(20)])
    other = write(
        tmp_path / "o.jsonl", [{"a": {"b": f"{i} " + "word " * 50}} for i in range(20, 40)]
    )
    dataset = load(
        path,
        f"dataset.general.path={long}",
        "dataset.general.column=a.b",
        "dataset.general.mode=cut",
        "dataset.general.max_words=30",
        f"dataset.texts.benign.path={other}",
        "dataset.texts.benign.column=a.b",
        f"dataset.texts.others=[{{name: news, path: {other}, column: a.b}}]",
        "evaluation.perplexity.documents=4",
    )
    assert all(15 <= len(each.text.split()) < 30 for each in dataset.references(GENERAL, 0))
    assert {name: len(each) for name, each in dataset.texts.items()} == {
        "general": 4,
        "benign": 4,
        "news": 4,
    }


def test_toxicity_takes_categories_from_scores(tmp_path):
    records = [
        {"prompt": {"text": f"prompt with score {i}", "toxicity": i / 600}} for i in range(601)
    ]
    records.append({"prompt": {"text": "never scored at all", "toxicity": None}})
    path = write(tmp_path / "rtp.jsonl", records)
    dataset = load(
        path,
        *LOCAL_TOXICITY,
        *(f"dataset.{name}.samples=15" for name in ("general", "undesired")),
        "evaluation.prompts=9",
    )
    toxic, neutral = (
        [int(p.split()[-1]) for p in dataset.prompts[name]] for name in ("toxic", "neutral")
    )
    assert min(toxic) >= 540 and max(neutral) <= 60 and len(toxic) == 9 == len(neutral)


def test_the_first_prompts_of_a_file_without_splits(tmp_path):
    """As an earlier reproduction chose: the first prompts that score enough, and those again."""
    records = [
        {"prompt": {"text": f"prompt number {i}", "toxicity": 0.95 if i % 2 else 0.05}}
        for i in range(80)
    ]
    path = write(tmp_path / "rtp.jsonl", records)
    both = ("dataset.prompts.split_by=none", "dataset.undesired.order=first")
    with pytest.raises(UserError, match=r"split_by=none: .*in_sample=true"):
        settings(path, *LOCAL_TOXICITY, *both)
    dataset = load(path, *LOCAL_TOXICITY, *both, "evaluation.in_sample=true")
    expected = [f"prompt number {i}" for i in range(1, 40, 2)]
    assert dataset.prompts["toxic"] == expected
    for seed in (0, 1):
        assert [each.text for each in dataset.references(UNDESIRED, seed)] == expected


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
        ("dataset.general.max_words=0", "general.max_words=0: must be 1 or more"),
        ("dataset.undesired.buffer=0", "undesired.buffer=0: must be 1 or more"),
        ("dataset.prompts.neutral_to=0.9", "neutral_to=0.9: must be below .*undesired_from=0.9"),
        ("evaluation.baseline=never", "must be one of"),
    ],
)
def test_impossible_values(override, message):
    with pytest.raises(UserError, match=message):
        composed(override)


def test_candidates():
    assert len(set(map(normalised, candidates()))) == len(candidates()) == 280
    assert len({split_of(prompt) for prompt in candidates()}) == 3


def test_lexicon_file(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("Idiot\n\n shut up \n")
    assert lines(str(path)) == ["Idiot", "shut up"]
    assert EvaluationConfig().lexicon.path is None
