"""Scorers through the real Detoxify class and transformers, on random tiny BERTs; repetition."""

import json
import math
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

from sparc.errors import UserError
from sparc.generation.detoxify import detoxify_checkpoint, detoxify_file
from sparc.generation.repetition import repetition
from sparc.generation.scorers import (
    classifier_scorer,
    detoxify_scorer,
    lexicon_scorer,
)

WORDS = ["you", "are", "the", "idiot", "nice", "a"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
TEXTS = ["you are the idiot", "nice", "", "a nice idiot", " \n", "nice", "you you " * 40, "the"]


def bert_folder(path, classes=("toxicity",), limit=64, **changes):
    """Write a random BERT classifier and its tokenizer; `limit` None: no length in its config."""
    names = dict(enumerate(classes))
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
        id2label=names,
        label2id={name: output for output, name in names.items()},
        **changes,
    )
    torch.manual_seed(0)
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(path)
    (path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    if limit is not None:
        settings["model_max_length"] = limit
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    return path


@torch.no_grad()
def logits(path, texts, limit=64):
    """Logits [texts, classes], one text at a time."""
    tokenizer = BertTokenizer.from_pretrained(path)
    model = BertForSequenceClassification.from_pretrained(path).eval()
    rows = [
        model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=limit)).logits[0]
        for text in texts
    ]
    return torch.stack(rows)


def assert_scores(found, expected):
    """Equal for texts with words, NaN for the two empty ones."""
    empty = np.array([not text.strip() for text in TEXTS])
    assert found.dtype == np.float64 and found.shape == (len(TEXTS),)
    assert np.isnan(found).tolist() == empty.tolist()
    assert np.allclose(found[~empty], expected.numpy()[~empty], atol=1e-6)
    assert np.ptp(found[~empty]) > 0.05


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("classes", [("toxicity",), ("insult", "toxicity", "threat")])
def test_detoxify_equals_the_classifier(tmp_path, classes, batch_size):
    folder = bert_folder(tmp_path / "bert", classes)
    checkpoint = detoxify_checkpoint(folder, tmp_path / "cache")
    expected = torch.sigmoid(logits(folder, TEXTS))[:, classes.index("toxicity")]
    for source in (checkpoint, str(checkpoint.parent)):
        scorer = detoxify_scorer(source, device="cpu", batch_size=batch_size)
        assert_scores(scorer(TEXTS), expected)
    assert np.isnan(scorer([""])).all() and scorer([]).shape == (0,)


def test_detoxify_checkpoint_is_written_once_and_whole(tmp_path, monkeypatch):
    folder, cache = bert_folder(tmp_path / "bert"), tmp_path / "cache"
    monkeypatch.chdir(tmp_path)
    first = detoxify_checkpoint(folder, cache)
    written = first.stat().st_mtime_ns
    assert detoxify_checkpoint(folder.relative_to(tmp_path), cache) == first
    assert first.stat().st_mtime_ns == written
    # Detoxify renames the first Jigsaw class
    other = detoxify_checkpoint(bert_folder(tmp_path / "other", ("toxic",)), cache)
    assert other != first
    assert detoxify_scorer(other, device="cpu", batch_size=8)(["nice"]).shape == (1,)

    def full_disk(*_):
        raise OSError("no space")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        detoxify_checkpoint(folder, tmp_path / "new")
    assert list((tmp_path / "new" / "detoxify").iterdir()) == []


@pytest.mark.parametrize("harm", ["flipped", "empty", "truncated", "missing", "other weights"])
def test_a_damaged_checkpoint_in_the_cache_is_made_anew(tmp_path, harm, caplog):
    folder, cache = bert_folder(tmp_path / "bert"), tmp_path / "cache"
    checkpoint = detoxify_checkpoint(folder, cache)
    fresh = detoxify_scorer(checkpoint, device="cpu", batch_size=8)
    data = bytearray(checkpoint.read_bytes())
    stored = data.find(load_file(folder / "model.safetensors")["classifier.weight"].numpy())
    if harm == "flipped":
        data[stored + 3] ^= 0x40  # an exponent
    elif harm == "other weights":
        data[stored : stored + 128] = bytes(128)
    checkpoint.write_bytes(data[: {"empty": 0, "truncated": 5000}.get(harm, len(data))])
    if harm == "missing":
        checkpoint.unlink()
    again = detoxify_scorer(detoxify_checkpoint(folder, cache), device="cpu", batch_size=8)
    assert "computing it again" in caplog.text and again.content == fresh.content
    assert np.array_equal(again(TEXTS), fresh(TEXTS), equal_nan=True)


def test_a_damaged_checkpoint_of_ones_own_is_named(tmp_path, monkeypatch):
    whole = detoxify_checkpoint(bert_folder(tmp_path / "bert"), tmp_path / "cache")
    own = tmp_path / "own.ckpt"
    content = torch.load(whole, weights_only=True)
    del content["state_dict"]["classifier.weight"]  # would be random
    torch.save(content, tmp_path / "lacking")
    torch.save({}, tmp_path / "bare")
    for data, told in (
        (b"", r"own\.ckpt is empty; give another file in evaluation\.detoxify\.source"),
        (whole.read_bytes()[:5000], r"damaged or no checkpoint of Detoxify"),
        ((tmp_path / "lacking").read_bytes(), "lacks classifier.weight"),
        ((tmp_path / "bare").read_bytes(), "damaged or no checkpoint"),
    ):
        own.write_bytes(data)
        with pytest.raises(UserError, match=told) as error:
            detoxify_scorer(own, device="cpu", batch_size=8)
        assert "\n" not in str(error.value) and "code" not in str(error.value)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    variant = detoxify_file("original")
    variant.parent.mkdir(parents=True)
    variant.touch()
    with pytest.raises(UserError, match=r"is empty; remove it and run stage=prefetch"):
        detoxify_scorer("original", device="cpu", batch_size=8)


def test_detoxify_truncates_where_the_tokenizer_states_no_length(tmp_path):
    folder = bert_folder(tmp_path / "bert", limit=None)
    checkpoint = detoxify_checkpoint(folder, tmp_path)
    text = "you are nice " * 60
    found = detoxify_scorer(checkpoint, device="cpu", batch_size=8)([text])
    expected = torch.sigmoid(logits(folder, [text], limit=62))[0, 0].item()
    assert found[0] == pytest.approx(expected, abs=1e-6)


def test_detoxify_mistakes(tmp_path, monkeypatch):
    folder = bert_folder(tmp_path / "bert")
    checkpoint = detoxify_checkpoint(folder, tmp_path / "cache")
    with pytest.raises(UserError, match="no label 'insult'"):
        detoxify_scorer(checkpoint, device="cpu", batch_size=8, label="insult")
    with pytest.raises(UserError, match="originall"):
        detoxify_scorer("originall", device="cpu", batch_size=8)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    message = "'original' are not cached; run stage=prefetch"
    with pytest.raises(UserError, match=message):
        detoxify_scorer("original", device="cpu", batch_size=8)

    def unreachable(*_, **__):
        raise URLError("unreachable")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", unreachable)
    with pytest.raises(UserError, match=message):
        detoxify_scorer("original", device="cpu", batch_size=8)


@pytest.mark.parametrize(
    ("classes", "problem", "squash"),
    [
        (("toxicity",), None, torch.sigmoid),
        (("fine", "toxicity"), None, lambda scores: scores.softmax(-1)),
        (("fine", "toxicity"), "multi_label_classification", torch.sigmoid),
    ],
)
def test_classifier_equals_its_model(tmp_path, classes, problem, squash):
    folder = bert_folder(tmp_path / "bert", classes, problem_type=problem)
    expected = squash(logits(folder, TEXTS))[:, -1]
    scorer = classifier_scorer(folder, label="toxicity", device="cpu", batch_size=3)
    assert_scores(scorer(TEXTS), expected)


def test_classifier_mistakes(tmp_path):
    folder = bert_folder(tmp_path / "bert")
    with pytest.raises(UserError, match="no label 'rude'; use one of"):
        classifier_scorer(folder, label="rude", device="cpu", batch_size=3)
    with pytest.raises(UserError, match="cannot load the classifier"):
        classifier_scorer(tmp_path / "none", label="rude", device="cpu", batch_size=3)


class Touch:
    """What a pickle may hold: a call, made where it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_checkpoint_with_code_in_it_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for source in (tmp_path / "own.ckpt", "original"):
        file = detoxify_file(source) if source == "original" else source
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"config": Touch(tmp_path / "touched"), "state_dict": {}}, file)
        with pytest.raises(UserError, match="could run its code: give another file"):
            detoxify_scorer(source, device="cpu", batch_size=8)
        assert not (tmp_path / "touched").exists()
    torch.load(file, weights_only=False)
    assert (tmp_path / "touched").exists()


def test_scores_are_known_by_all_that_gave_them(tmp_path):
    one, two = (bert_folder(tmp_path / name, ("fine", "toxicity")) for name in ("one", "two"))
    whole = classifier_scorer(one, label="toxicity", device="cpu", batch_size=3).content

    def content(label="toxicity"):
        return classifier_scorer(two, label=label, device="cpu", batch_size=3).content

    assert content() == whole  # wherever it lies
    assert content("fine") != whole
    settings = json.loads((two / "tokenizer_config.json").read_text())
    (two / "tokenizer_config.json").write_text(json.dumps(settings | {"do_lower_case": False}))
    assert content() != whole
    (two / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": 8}))
    assert content() != whole
    (two / "tokenizer_config.json").write_text(json.dumps(settings))
    assert content() == whole
    data = bytearray((two / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (two / "model.safetensors").write_bytes(data)
    assert content() != whole
    words = [lexicon_scorer(words).content for words in ({"idiot"}, {"Idiot"}, {"clown"})]
    assert words[0] == words[1] != words[2]


def test_each_distinct_text_is_scored_once(tmp_path, monkeypatch):
    checkpoint = detoxify_checkpoint(bert_folder(tmp_path / "bert"), tmp_path)
    seen = []
    predict = __import__("detoxify").Detoxify.predict
    monkeypatch.setattr(
        "detoxify.Detoxify.predict", lambda self, texts: seen.extend(texts) or predict(self, texts)
    )
    detoxify_scorer(checkpoint, device="cpu", batch_size=2)(TEXTS * 3)
    assert sorted(seen) == sorted({text for text in TEXTS if text.strip()})


def test_lexicon():
    scorer = lexicon_scorer({"Idiot", "clown"}, {("shut", "up")})
    texts = ["you IDIOT!", "idiotic", "Shut up.", "up shut", "shut it up", "", "a clown, Tom"]
    expected = [1, 0, 1, 0, 0, math.nan, 1]
    assert np.array_equal(scorer(texts), expected, equal_nan=True)


def test_repetition_of_known_texts():
    texts = ["a b c d", "a a a", "a a", "x a b a b a b y", "a b a b", "", "a"]
    found = repetition([[text] for text in texts])
    nan = math.nan
    expected = {
        "uniqueness": [1, 1 / 3, 1 / 2, 4 / 8, 1 / 2, nan, 1],
        "distinct_2": [1, 1 / 2, 1, 4 / 7, 2 / 3, nan, nan],
        "loop": [0, 1, 0, 1, 0, nan, 0],
    }
    assert set(found) == set(expected)
    for statistic, values in expected.items():
        assert found[statistic].shape == (len(texts), 1)
        assert np.allclose(found[statistic][:, 0], values, equal_nan=True), statistic


@pytest.mark.parametrize("length", range(1, 11))
def test_loops_of_phrases_up_to_eight_words(length):
    phrase = [f"p{number}" for number in range(length)]
    twice = " ".join(["x", *phrase * 2, "y", *phrase])
    cut = " ".join((phrase * 3)[:-1]) if length > 1 else "p0 p0"
    thrice = " ".join(["x", *phrase * 3, "y"])
    found = repetition([[twice, cut, thrice]])["loop"]
    assert found.tolist() == [[0, 0, float(length <= 8)]]
