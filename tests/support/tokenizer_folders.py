"""Small tokenizers of the layouts that real models have, trained in a moment, in model folders."""

import json
import shutil
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tests.support.stand_ins import stand_in

_TEXTS = ["Hello world, how are you again?", "It's Tom. Grüße aus Köln", "北京 2024: 12345"] * 9


def byte_level() -> Tokenizer:
    """As GPT-2, OPT and Pythia have it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _trained(tokenizer, ["<s>", "</s>"], pre_tokenizers.ByteLevel.alphabet())


def split_digits() -> Tokenizer:
    """Byte-level with a cut of its own before it, here at each digit, as Llama 3 and Qwen."""
    tokenizer = byte_level()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), tokenizer.pre_tokenizer]
    )
    return tokenizer


def metaspace() -> Tokenizer:
    """SentencePiece with byte fallback, as Llama 2, TinyLlama, Mistral and Gemma have it."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return _trained(
        tokenizer, ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))], []
    )


def word_piece() -> Tokenizer:
    """Lower case, without accents, and space around marks when it is decoded, as BERT has it."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return _trained(tokenizer, ["<unk>", "<s>", "</s>"], [])


def folder_of(tokenizer: Tokenizer, target: Path, family: str = "llama", **settings: Any) -> Path:
    """A stand-in's folder with this tokenizer and these settings in tokenizer_config.json."""
    shutil.copytree(stand_in(family), target)
    tokenizer.save(str(target / "tokenizer.json"))
    (target / "tokenizer_config.json").write_text(json.dumps(settings))
    return target


def _trained(tokenizer: Tokenizer, special: list[str], alphabet: list[str]) -> Tokenizer:
    trainer_class: Any = (
        trainers.WordPieceTrainer
        if isinstance(tokenizer.model, models.WordPiece)
        else trainers.BpeTrainer
    )
    trainer = trainer_class(
        vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_TEXTS, trainer)
    return tokenizer
