"""Token sequences: the first tokens of long texts, drawn from a shuffled stream and kept."""

import json

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from sparc.config import ReferenceConfig
from sparc.config.locations import EMBEDDED_MODEL
from sparc.errors import UserError
from sparc.tasks.sequences import first_tokens, sequences, tokenizer_digest
from sparc.tiny import data


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def json_lines(path, rows):
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def _trained(pre_tokenizer, decoder, alphabet):
    """A small BPE tokenizer, trained on words of the corpus."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizer, decoder
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<unk>", "<s>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(data.texts("general", "attribution", 60), trainer)
    return tokenizer


def _byte_level():
    """As those of GPT-2, OPT, Llama 3 and Qwen: cut into words first."""
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = _trained(cut, decoders.ByteLevel(), pre_tokenizers.ByteLevel.alphabet())
    both_ends = processors.TemplateProcessing("<s> $A <s>", special_tokens=[("<s>", 1)])
    tokenizer.post_processor = both_ends
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>")


def _metaspace():
    """As those of Llama 2 and Mistral: pieces are of one word, merged over the whole text."""
    tokenizer = _trained(pre_tokenizers.Metaspace(), decoders.Metaspace(), [])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>")


TOKENIZERS = {
    "embedded": lambda: AutoTokenizer.from_pretrained(EMBEDDED_MODEL),
    "byte level": _byte_level,
    "metaspace": _metaspace,
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_first_tokens_are_those_of_the_whole_text(name):
    tokenizer = TOKENIZERS[name]()
    documents = data.texts("general", "attribution", 12)
    odd = "  ".join(documents) + "\n\n   \u00e9t\u00e9 \t x" + " " * 40 + "end" + " " * 300
    for text in [*documents, " ".join(documents), odd, "", "x" * 900, odd[:700] * 3, " a"]:
        whole = tokenizer(text, verbose=False)["input_ids"]
        for length in (1, 5, 16, 64, 200):
            expected = whole[:length] if len(whole) >= length else None
            assert first_tokens(tokenizer, text, length) == expected, (length, text[:40])


def test_a_long_text_is_not_tokenised_whole():
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_MODEL)
    seen = []

    class Counting:
        def __call__(self, text, **options):
            seen.append(len(text))
            return tokenizer(text, **options)

    text = " ".join(data.texts("general", "attribution", 60))
    assert first_tokens(Counting(), text, 64) == tokenizer(text, verbose=False)["input_ids"][:64]
    assert sum(seen) <= 8 * 64 < len(text) / 10


def test_sequences_of_a_file_are_drawn_once_and_then_kept(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_MODEL)
    rows = [{"text": text} for text in data.texts("general", "attribution", 60)]
    path = json_lines(tmp_path / "c4.jsonl", rows)
    config = ReferenceConfig(path=path, samples=12, seq_len=40, buffer=20)
    counts: list[int] = []
    found = sequences(config, tokenizer, 0, tmp_path / "cache", counts.append)
    assert sum(counts) == len(found) == 12 and {len(each.token_ids) for each in found} == {40}
    ids = {tuple(tokenizer(row["text"])["input_ids"][:40]) for row in rows}
    assert {each.token_ids for each in found} <= ids and len({e.token_ids for e in found}) == 12
    assert found == sequences(config, tokenizer, 0, None)  # without a cache the same
    assert found != sequences(config, tokenizer, 1, None)
    tokenizer("touched", truncation=True, max_length=3)  # its use is no part of its digest
    (tmp_path / "elsewhere").mkdir()
    moved = json_lines(tmp_path / "elsewhere" / "moved.jsonl", rows)
    before = sorted((tmp_path / "cache" / "sequences").iterdir())
    config.path = moved  # the content counts, not the name
    counts.clear()
    assert sequences(config, tokenizer, 0, tmp_path / "cache", counts.append) == found
    assert counts == [12] and sorted((tmp_path / "cache" / "sequences").iterdir()) == before


def test_each_split_of_a_folder_has_its_own_sequences(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_MODEL)
    for split in ("attribution", "held_out"):
        name = {"attribution": "train", "held_out": "test"}[split]
        rows = [{"text": text} for text in data.texts("general", split, 20)]
        (tmp_path / "mine").mkdir(exist_ok=True)
        json_lines(tmp_path / "mine" / f"{name}.jsonl", rows)
    both = [
        ReferenceConfig(path=str(tmp_path / "mine"), split=split, samples=4, seq_len=20)
        for split in ("train", "test")
    ]
    kept, fresh = ([sequences(c, tokenizer, 0, d) for c in both] for d in (tmp_path / "c", None))
    assert kept == fresh and kept[0] != kept[1]


def test_sequences_that_cannot_be_had(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_MODEL)
    path = json_lines(tmp_path / "t.jsonl", [{"text": "rita liked the show . " * 9}] * 5)
    config = ReferenceConfig(path=path, samples=12, seq_len=20)
    with pytest.raises(UserError, match="5 of 12 texts of at least 20 tokens found among 5, and"):
        sequences(config, tokenizer, 0, tmp_path / "cache")
    assert not [each for each in (tmp_path / "cache" / "sequences").iterdir() if each.is_dir()]
    with pytest.raises(UserError, match="seq_len=20: the model's context is 16 tokens"):
        sequences(config, tokenizer, 0, None, context=16)
    with pytest.raises(UserError, match="set the path of a source"):
        sequences(ReferenceConfig(seq_len=20), tokenizer, 0, None)
    with pytest.raises(UserError, match="'body' is missing; there are: text"):
        sequences(ReferenceConfig(path=path, column="body", seq_len=20), tokenizer, 0, None)
    write(tmp_path / "t.jsonl", '{"text": "x y"}\n{"text":\n')
    with pytest.raises(UserError, match=r"t.jsonl, line 2: not JSON"):
        sequences(config, tokenizer, 0, None)


def test_tokenizers_differ_by_what_they_do():
    one, two = (TOKENIZERS[name]() for name in ("byte level", "metaspace"))
    assert tokenizer_digest(one) == tokenizer_digest(TOKENIZERS["byte level"]())
    assert tokenizer_digest(one) != tokenizer_digest(two)
