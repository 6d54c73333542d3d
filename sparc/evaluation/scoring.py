"""The scorers that a configuration names."""

from collections.abc import Callable
from pathlib import Path

from sparc.behaviours.reading import lines
from sparc.config import EvaluationConfig
from sparc.datasets import Dataset, Lexicon
from sparc.errors import UserError
from sparc.evaluation.detoxify_checkpoint import detoxify_checkpoint
from sparc.evaluation.scorers import (
    Scorer,
    classifier_scorer,
    detoxify_scorer,
    lexicon_scorer,
    repetition_scorer,
)
from sparc.locations import EMBEDDED, EMBEDDED_CLASSIFIER

_BATCH = 256


def load_scorers(
    config: EvaluationConfig, dataset: Dataset, device: str, cache: Path
) -> dict[str, Scorer]:
    """The scorers that `evaluation.scorers` names, the primary one first, on `device`.

    Raises UserError where a scorer's weights are missing or there is no lexicon.
    """

    def detoxify() -> Scorer:
        source: str | Path = config.detoxify.source
        if source == EMBEDDED:
            source = detoxify_checkpoint(EMBEDDED_CLASSIFIER, cache)
        return detoxify_scorer(
            source, device=device, batch_size=_BATCH, label=config.detoxify.label
        )

    def classifier() -> Scorer:
        if config.classifier.path is None:
            raise UserError(
                "evaluation.classifier.path is not set: name a sequence classifier (hub id or "
                "folder) for evaluation.scorers=classifier"
            )
        return classifier_scorer(
            config.classifier.path,
            revision=config.classifier.revision,
            label=config.classifier.label,
            device=device,
            batch_size=_BATCH,
        )

    def lexicon() -> Scorer:
        return lexicon_scorer(*lexicon_of(config, dataset))

    makers: dict[str, Callable[[], Scorer]] = {
        "detoxify": detoxify,
        "classifier": classifier,
        "lexicon": lexicon,
        "repetition": repetition_scorer,
    }
    return {name: makers[name]() for name in config.scorers}


def lexicon_of(config: EvaluationConfig, dataset: Dataset) -> Lexicon:
    """Words and pairs of `evaluation.lexicon.path` or else of the data set.

    Raises UserError for a file that is no lexicon, and where there is none.
    """
    path = config.lexicon.path
    if path is None:
        if dataset.lexicon is None:
            raise UserError(
                "evaluation.scorers=lexicon: this data set has no lexicon; set "
                "evaluation.lexicon.path=... (a word or a pair of words a line)"
            )
        return dataset.lexicon
    entries = [tuple(line.lower().split()) for line in lines(path)]
    for number, entry in enumerate(entries, start=1):
        if len(entry) > 2:
            raise UserError(f"{path}, entry {number}: more than two words ({' '.join(entry)})")
    pairs = frozenset((entry[0], entry[1]) for entry in entries if len(entry) == 2)
    return frozenset(entry[0] for entry in entries if len(entry) == 1), pairs
