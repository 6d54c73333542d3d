"""Tokenizers: the usual layouts load, and one that loses text is refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sparc.config import ModelConfig
from sparc.errors import UserError
from sparc.models.loading import fit_vocabulary
from sparc.models.model import load_model
from sparc.models.tokenizing import load_tokenizer, lost, refuse_lost
from sparc.sources.hub import quiet
from tests.support.composed import composed
from tests.support.stand_ins import FAMILIES, stand_in
from tests.support.tokenizer_folders import (
    byte_level,
    folder_of,
    metaspace,
    split_digits,
    word_piece,
)

Build = Callable[[], Tokenizer]


def _read(folder: Path) -> Any:
    with quiet():
        return load_tokenizer(folder, "model.path=it")


# family, layout, the class that tokenizer_config.json names
USUAL = [
    ("opt", byte_level, "GPT2Tokenizer"),
    ("gpt2", byte_level, "GPT2Tokenizer"),
    ("gpt2", byte_level, None),
    ("llama", metaspace, "LlamaTokenizer"),
    ("llama", metaspace, "LlamaTokenizerFast"),
    ("llama", split_digits, "PreTrainedTokenizerFast"),
    ("llama", byte_level, "PreTrainedTokenizerFast"),
    ("gpt2", word_piece, "PreTrainedTokenizerFast"),
]


@pytest.mark.parametrize(("family", "build", "named"), USUAL)
@pytest.mark.parametrize("bos", [True, False])
def test_usual_layouts_load(
    family: str, build: Build, named: str | None, bos: bool, tmp_path: Path
) -> None:
    names = {"tokenizer_class": named, "bos_token": "<s>", "eos_token": "</s>"}
    folder = folder_of(build(), tmp_path / "model", family, **names, add_bos_token=bos)
    tokenizer = _read(folder)
    for text in ("Hello again", " It's\n\nTom  in Köln", "Grüße aus 北京"):
        assert lost(text, tokenizer) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_stand_ins_lose_nothing(family: str) -> None:
    tokenizer = _read(stand_in(family))
    assert lost("Tom was angry .", tokenizer) is None
    assert lost("Of words that it does not have", tokenizer) is None  # and so is not judged


# family, layout, class; the first is what transformers makes of a byte-level Llama
LIES = [
    ("llama", byte_level, "LlamaTokenizer"),
    ("llama", byte_level, "LlamaTokenizerFast"),
    ("llama", split_digits, "LlamaTokenizerFast"),
    ("gpt2", metaspace, "GPT2Tokenizer"),
    ("opt", metaspace, None),
    ("gpt2", split_digits, "GPT2Tokenizer"),  # loses nothing, but cuts numbers otherwise
]


@pytest.mark.parametrize(("family", "build", "named"), LIES)
def test_a_class_that_does_not_follow_its_file_is_refused(
    family: str, build: Build, named: str | None, tmp_path: Path
) -> None:
    folder = folder_of(build(), tmp_path / "model", family, tokenizer_class=named)
    with pytest.raises(UserError) as error:
        load_model(ModelConfig(name="m", path=str(folder)), "cpu")
    told = str(error.value)
    expected = "LlamaTokenizer" if family == "llama" else "GPT2Tokenizer"
    assert f"its tokenizer ({expected}) makes other tokens" in told and "\n" not in told
    assert '"tokenizer_class": "PreTrainedTokenizerFast"' in told
    settings = folder / "tokenizer_config.json"  # and what it says to do, helps
    settings.write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    assert lost("Hello world, again", _read(folder)) is None


def test_the_folder_is_followed_where_the_library_prefers_its_own_class(tmp_path: Path) -> None:
    named = {"tokenizer_class": "PreTrainedTokenizerFast"}
    folder = folder_of(byte_level(), tmp_path / "model", **named)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "qwen2"}))
    assert type(_read(folder)).__name__ == "TokenizersBackend"


def test_without_a_tokenizer_file_the_sentence_tells(tmp_path: Path) -> None:
    folder = folder_of(byte_level(), tmp_path / "model", tokenizer_class="LlamaTokenizer")
    glued = load_glued(folder)
    told = r"its tokenizer \(LlamaTokenizer\) loses text: 'Hello world, again' comes back as 'Hel"
    with pytest.raises(UserError, match=told):
        refuse_lost(["Hello world, again"], glued, "model.path=it")


def load_glued(folder: Path) -> Any:
    """What the library alone makes of the folder."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def test_prompts_tell_what_a_sentence_does_not() -> None:
    letters = {letter: number for number, letter in enumerate("Helo wrd,agin")}
    bare = Tokenizer(models.BPE(letters, []))  # drops what it does not have
    bare.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare)
    refuse_lost(["Hello world, again"], tokenizer, "it")
    with pytest.raises(UserError, match=r"'привет' comes back as ''.*its tokenizer.json is broken"):
        refuse_lost(["привет", "Hello"] * 3 + ["мир"], tokenizer, "it")
    refuse_lost(["привет", "Hello"], tokenizer, "it")  # one odd text tells nothing
    refuse_lost([], tokenizer, "it")


@pytest.mark.parametrize(
    ("back", "same"),
    [
        ("Tom's café, 1 km", True),
        ("tom ' s cafe , 1 km", True),
        ("  Tom's cafe\u0301,  1 km ", True),
        ("Tom'scafé, 1 km", False),
        ("Tom's caf, 1 km", False),
        ("Tom's café, 1 km!", False),
        ("", False),
    ],
)
def test_what_counts_as_the_same_text(back: str, same: bool) -> None:
    words = Tokenizer(models.WordLevel({"<unk>": 0, "Tom's café, 1 km": 1}, "<unk>"))
    words.decoder = decoders.Replace("Tom's café, 1 km", back)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
    assert (lost("Tom's café, 1 km", tokenizer) is None) == same


def test_special_tokens_must_be_known(tmp_path: Path) -> None:
    words = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.decoder = decoders.Replace("</s>", "<unk>")
    folder = folder_of(words, tmp_path / "model", eos_token="</s>")
    with pytest.raises(UserError, match="does not know its own eos_token '</s>'"):
        _read(folder)


def test_special_tokens_need_embeddings() -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_level(), eos_token="</s>")
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    fit_vocabulary(tokenizer, rows + 1, "it")
    assert tokenizer.pad_token == "[PAD]"
    fit_vocabulary(tokenizer, rows, "it")
    assert tokenizer.pad_token_id is None and tokenizer.eos_token == "</s>"
    with pytest.raises(UserError, match=r"special token '</s>' is number 1, .* 1 embeddings"):
        fit_vocabulary(tokenizer, 1, "it")


@pytest.mark.slow
def test_check_refuses_it_before_anything_is_loaded(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from sparc.preflight.checking import check
    from sparc.preflight.needs import ask

    folder = folder_of(byte_level(), tmp_path / "model", tokenizer_class="LlamaTokenizer")
    config = composed("model=hf", f"model.path={folder}", f"paths.cache={tmp_path}")
    with ThreadPoolExecutor(4) as pool:
        rows = {row.name: row for row in check(config, {}, ask(config, pool))}
    assert rows["tokenizer"].ok is False
    assert '"tokenizer_class": "PreTrainedTokenizerFast"' in (rows["tokenizer"].advice or "")
