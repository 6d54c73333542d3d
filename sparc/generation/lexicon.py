"""A lexicon: undesired words, and pairs of words, that a scorer looks for."""

from sparc.config import EvaluationConfig
from sparc.errors import UserError
from sparc.sources.reading import lines

Lexicon = tuple[frozenset[str], frozenset[tuple[str, str]]]


def lexicon_of(config: EvaluationConfig, known: Lexicon | None) -> Lexicon:
    """Words and pairs of `evaluation.lexicon.path`, or else those that the data set knows.

    Raises UserError for a file that is no lexicon, and where there is none.
    """
    path = config.lexicon.path
    if path is None:
        if known is None:
            raise UserError(
                "evaluation.scorers=lexicon: this data set has no lexicon; set "
                "evaluation.lexicon.path=... (a word or a pair of words a line)"
            )
        return known
    entries = [tuple(line.lower().split()) for line in lines(path)]
    for number, entry in enumerate(entries, start=1):
        if len(entry) > 2:
            raise UserError(f"{path}, entry {number}: more than two words ({' '.join(entry)})")
    pairs = frozenset((entry[0], entry[1]) for entry in entries if len(entry) == 2)
    return frozenset(entry[0] for entry in entries if len(entry) == 1), pairs
