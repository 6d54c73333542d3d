"""Where a completion becomes undesired: the first word that takes the score of what was said so far
to the threshold.

Scores are not monotone in the length of a text, so every prefix is scored, in batches; there is no
bisection. Token by token a prefix would end inside of words, of which no classifier knows what
they are going to be. So the prefixes end with whole words, and the cut is before the first token
of the word that tips the score: that is where the model chooses to say it.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from sparc.generation.completing import decoded
from sparc.generation.scorers import Scorer

# What joins the two parts of a word such as don't, and half a character.
_INSIDE = "'’\ufffd"  # noqa: RUF001


def word_starts(tokenizer: Any, tokens: Sequence[int]) -> list[int]:
    """The tokens (positions in `tokens`) that begin a word or a punctuation mark; first is 0.

    A token goes on with the word before it where its text begins with a letter or digit right
    after another one or after a space, which belongs to the word that follows it; where it has no
    text of its own; and where several tokens make up one character.
    """
    texts = [decoded(tokenizer, tokens[:count]) for count in range(len(tokens) + 1)]
    starts = [0] if tokens else []
    for position, (before, after) in enumerate(pairwise(texts)):
        added = after.removeprefix(before)
        whole = after.startswith(before) and added
        inside = _in_word(before[-1:]) and _in_word(added[:1])
        if position and whole and not inside and not before.endswith(" "):
            starts.append(position)
    return starts


def cuts(
    tokenizer: Any, completions: Sequence[Sequence[int]], scorer: Scorer, threshold: float
) -> list[int]:
    """How many tokens of each completion come before it is undesired.

    0 where the very first word takes the score there. The whole of each of `completions`, token
    ids, scores at least `threshold`.
    """
    starts = [word_starts(tokenizer, each) for each in completions]
    prefixes = [
        [decoded(tokenizer, tokens[:end]) for end in [*begun[1:], len(tokens)]]
        for tokens, begun in zip(completions, starts, strict=True)
    ]
    scores = iter(scorer([prefix for each in prefixes for prefix in each]))
    found = []
    for begun, each in zip(starts, prefixes, strict=True):
        reached = [next(scores) >= threshold for _ in each]
        # a score of the same text may differ in its last digit between batches: the whole counts
        found.append(begun[reached.index(True)] if any(reached) else begun[-1])
    return found


def _in_word(character: str) -> bool:
    return character.isalnum() or (character != "" and character in _INSIDE)
