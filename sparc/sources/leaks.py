"""Whether texts that were attributed come back as evaluation prompts or texts for perplexity."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from sparc.errors import UserError

_SHORTEST_INSIDE = 3  # words; a text of fewer is inside others by chance
_SHORTEST_TEXT = 8  # words; headings and stock phrases begin many texts
_SHOWN = 60  # characters of a prompt in a message
_OTHERWISE = "or set evaluation.in_sample=true, which marks every number as in-sample"
_HEAD = 50  # words of a text by which it is known inside a long document


def normalised(text: str) -> str:
    """Words in lower case between single spaces: case, spacing and punctuation do not count."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\w+", plain)) or " ".join(plain.split())


def leaked(prompts: Iterable[str], attributed: Iterable[str]) -> list[str]:
    """The prompts that repeat an attributed text.

    A prompt does when, normalised, it equals one, holds one of at least three words, or begins
    one and has at least eight words: stock phrases begin many texts.
    """
    known = {f" {normalised(text)} " for text in attributed}
    inside = [text for text in known if len(text.split()) >= _SHORTEST_INSIDE]

    def repeats(prompt: str) -> bool:
        shown = f" {normalised(prompt)} "
        if shown in known:
            return True
        begins = len(shown.split()) >= _SHORTEST_TEXT
        return any(text in shown or (begins and text.startswith(shown)) for text in inside)

    return [prompt for prompt in prompts if repeats(prompt)]


def refuse_leak(prompts: Mapping[str, Sequence[str]], attributed: Iterable[str]) -> None:
    """Raise UserError with the count and the first where prompts repeat attributed texts."""
    shown = [prompt for each in prompts.values() for prompt in each]
    if found := leaked(shown, attributed):
        first = " ".join(found[0].split())
        first = first if len(first) <= _SHOWN else first[:_SHOWN] + "..."
        raise UserError(
            f"{len(found)} of {len(shown)} evaluation prompts repeat attributed texts, the first "
            f"is '{first}': remove them, {_OTHERWISE}"
        )


def repeated(texts: Iterable[str], attributed: Iterable[str]) -> int:
    """How many documents repeat an attributed text, in time that grows with their length alone.

    A document of at least eight words does when, normalised, it begins with an attributed text of
    at least eight words, is the beginning of one, or holds the first fifty words of one anywhere.
    """
    words = [normalised(text).split() for text in attributed]
    heads = {tuple(each[:_HEAD]) for each in words if len(each) >= _SHORTEST_TEXT}
    long = {head for head in heads if len(head) == _HEAD}
    begun = {head[:size] for head in heads for size in range(_SHORTEST_TEXT, len(head) + 1)}
    lengths = {len(head) for head in heads}

    def repeats(document: str) -> bool:
        shown = tuple(normalised(document).split())
        if len(shown) < _SHORTEST_TEXT or not heads:
            return False
        if shown in begun or any(shown[:size] in heads for size in lengths):
            return True
        places = range(len(shown) - _HEAD + 1) if long else ()
        return any(shown[place : place + _HEAD] in long for place in places)

    return sum(repeats(document) for document in texts)


def refuse_text_leak(texts: Mapping[str, Sequence[str]], attributed: Iterable[str]) -> None:
    """Raise UserError with the count where texts for perplexity repeat attributed texts."""
    known = list(attributed)
    for name, documents in texts.items():
        if count := repeated(documents, known):
            raise UserError(
                f"{count} of {len(documents)} documents of the text for perplexity '{name}' "
                f"repeat attributed texts: take others, {_OTHERWISE}"
            )
