"""Loading a tokenizer, and whether it says what it was given.

The library rebuilds many tokenizers from a class's own recipe, whatever their tokenizer.json says:
a byte-level vocabulary under the Llama class silently loses every space. Models go on to talk, of
other tokens than they were trained on.
"""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from sparc.errors import UserError

# How the library reads a folder: no code of its own, and nothing from the hub.
FROM_FOLDER: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
_SENTENCE = "Hello world, again"
# Where classes differ: numbers, apostrophes, spaces, lines, letters of one and of several bytes.
_TEXT = f"{_SENTENCE}: it's 12345.6,\n  für 北京 don't"
_OWN = ("PreTrainedTokenizerFast", "TokenizersBackend")  # classes that follow tokenizer.json
_PROMPTS, _CHARACTERS = 32, 1000  # of each prompt: so many tell


def load_tokenizer(folder: Path, where: str) -> Any:
    """The tokenizer in a model's folder, which does what it says.

    It must (1) make the tokens of tokenizer.json, where there is one, of a text without special
    tokens, (2) give back a plain sentence, as far as its vocabulary has it (see `lost`), and (3)
    know its own special tokens.

    Args:
        folder: A local one, or one of the hub's cache.
        where: What to name in errors.

    Raises:
        UserError: Where it loses or changes text.
    """
    # The library takes its own class for some architectures even where the folder says this.
    followed = get_tokenizer_config(folder, **FROM_FOLDER).get("tokenizer_class") in _OWN
    tokenizer: Any = (PreTrainedTokenizerFast if followed else AutoTokenizer).from_pretrained(
        folder, **FROM_FOLDER
    )
    file = folder / "tokenizer.json"
    if file.is_file() and _ids(tokenizer, _TEXT) != _stated_ids(file):
        raise UserError(
            f"{where}: {_class(tokenizer)} makes other tokens than its tokenizer.json: "
            f"{_advice(tokenizer)}"
        )
    refuse_lost([_SENTENCE], tokenizer, where)
    for name in ("bos_token", "eos_token", "pad_token"):
        token = getattr(tokenizer, name)
        if token is not None and _back(tokenizer, _ids(tokenizer, token)).strip() != token.strip():
            raise UserError(
                f"{where}: {_class(tokenizer)} does not know its own {name} {token!r}: name one "
                "of its vocabulary in its tokenizer_config.json"
            )
    return tokenizer


def refuse_lost(texts: Iterable[str], tokenizer: Any, where: str) -> None:
    """Raise UserError where more than half of the first texts do not come back as they were.

    A single odd text tells nothing: tokenizers differ in what they make of rare characters. Those
    that the vocabulary cannot express do not count.
    """
    begun = [text[:_CHARACTERS] for text, _ in zip(texts, range(_PROMPTS), strict=False)]
    found = [(text, lost(text, tokenizer)) for text in begun]
    gone = [(text, back) for text, back in found if back is not None]
    if 2 * len(gone) > len(found):
        text, back = gone[0]
        raise UserError(
            f"{where}: {_class(tokenizer)} loses text: {text[:60]!r} comes back as {back[:60]!r}: "
            f"{_advice(tokenizer)}"
        )


def lost(text: str, tokenizer: Any) -> str | None:
    """What `text` comes back as, where that is not what it says; None where it is, or unknown.

    It says the same if it has the same characters in the same order, and space between them
    wherever `text` has some. Case, accents, compatibility forms and further spaces do not count:
    lower-casing tokenizers and those of whole words lose no text. A text with a token that stands
    for whatever is unknown is not judged.
    """
    ids = _ids(tokenizer, text)
    model = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    unknown = {tokenizer.unk_token, getattr(model, "unk_token", None)} - {None}
    if unknown & {*tokenizer.convert_ids_to_tokens(ids)}:
        return None
    back = _back(tokenizer, ids)
    words = (r"\s*".join(map(re.escape, word)) for word in _plain(text).split())
    return None if re.fullmatch(r"\s+".join(words), _plain(back).strip()) else back


def _plain(text: str) -> str:
    """`text` without case, accents, compatibility forms and characters that nobody sees."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in letters if c.isspace() or unicodedata.category(c)[0] not in "MC")


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _back(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def _stated_ids(file: Path) -> list[int]:
    stated: Any = Tokenizer.from_file(str(file))
    stated.no_truncation()
    stated.no_padding()
    ids: list[int] = stated.encode(_TEXT, add_special_tokens=False).ids
    return ids


def _class(tokenizer: Any) -> str:
    return f"its tokenizer ({type(tokenizer).__name__})"


def _advice(tokenizer: Any) -> str:
    if type(tokenizer).__name__ in _OWN:
        return "its tokenizer.json is broken, give a whole one"
    return (
        'set "tokenizer_class": "PreTrainedTokenizerFast" in the tokenizer_config.json of a local '
        "copy, which follows its tokenizer.json"
    )
