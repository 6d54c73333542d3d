"""How much a completion repeats itself, counted on words separated by white space."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LONGEST_PHRASE = 8
_REPEATS = 3


def repetition(completions: Sequence[Sequence[str]]) -> dict[str, NDArray[np.float64]]:
    """Measure completions [prompts][samples]; return arrays [prompts, samples] by statistic.

    - ``uniqueness``: distinct words / words, the Response Uniqueness Ratio of the SparC3 paper
      (appendix F.2; there on tokens).
    - ``distinct_2``: distinct pairs of neighbouring words / pairs; NaN below two words.
    - ``loop``: 1 where a phrase of 1 to 8 words stands at least three times in a row, else 0.

    NaN for a completion without words.
    """
    words = [[text.split() for text in samples] for samples in completions]
    statistics = {
        "uniqueness": uniqueness,
        "distinct_2": lambda text: uniqueness([*pairwise(text)]),
        "loop": _loop,
    }
    return {
        name: np.array([[statistic(text) for text in samples] for samples in words], dtype=float)
        for name, statistic in statistics.items()
    }


def uniqueness(words: Sequence[Any]) -> float:
    """Distinct words / words."""
    return len(set(words)) / len(words) if words else np.nan


def _loop(words: Sequence[str]) -> float:
    if not words:
        return np.nan
    for length in range(1, _LONGEST_PHRASE + 1):
        equal = 0
        for word, later in zip(words, words[length:], strict=False):
            equal = equal + 1 if word == later else 0
            if equal == (_REPEATS - 1) * length:
                return 1.0
    return 0.0
