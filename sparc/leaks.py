"""Whether texts that were attributed come back as evaluation prompts."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from sparc.errors import UserError

_SHORTEST_INSIDE = 3  # words; a text of fewer is inside others by chance


def normalised(text: str) -> str:
    """Words in lower case between single spaces: case, spacing and punctuation do not count."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\w+", plain)) or " ".join(plain.split())


def leaked(prompts: Iterable[str], attributed: Iterable[str]) -> int:
    """How many prompts repeat an attributed text.

    A prompt does when, normalised, it equals one, begins one, or holds one of at least three
    words.
    """
    known = {f" {normalised(text)} " for text in attributed}
    inside = [text for text in known if len(text.split()) >= _SHORTEST_INSIDE]

    def repeats(prompt: str) -> bool:
        shown = f" {normalised(prompt)} "
        if shown in known:
            return True
        if len(shown.split()) < _SHORTEST_INSIDE:
            return False
        return any(text in shown or text.startswith(shown) for text in inside)

    return sum(repeats(prompt) for prompt in prompts)


def refuse_leak(prompts: Mapping[str, Sequence[str]], attributed: Iterable[str]) -> None:
    """Raise UserError with the count where evaluation prompts repeat attributed texts."""
    shown = [prompt for each in prompts.values() for prompt in each]
    count = leaked(shown, attributed)
    if count:
        raise UserError(
            f"{count} of {len(shown)} evaluation prompts repeat attributed texts: remove them, "
            "or set evaluation.in_sample=true, which marks every number as in-sample"
        )
