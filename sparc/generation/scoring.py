"""The scorers that a configuration names."""

from collections.abc import Callable
from pathlib import Path

from sparc.config import EvaluationConfig
from sparc.config.locations import EMBEDDED, EMBEDDED_CLASSIFIER
from sparc.errors import UserError
from sparc.generation.detoxify_checkpoint import detoxify_checkpoint
from sparc.generation.lexicon import Lexicon, lexicon_of
from sparc.generation.scorers import (
    Scorer,
    classifier_scorer,
    detoxify_scorer,
    lexicon_scorer,
    repetition_scorer,
)

_BATCH = 256


def load_scorers(
    config: EvaluationConfig, known: Lexicon | None, device: str, cache: Path
) -> dict[str, Scorer]:
    """The scorers that `evaluation.scorers` names, the primary one first, on `device`.

    known: the words of the data set, None where it has none.

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
        return lexicon_scorer(*lexicon_of(config, known))

    makers: dict[str, Callable[[], Scorer]] = {
        "detoxify": detoxify,
        "classifier": classifier,
        "lexicon": lexicon,
        "repetition": repetition_scorer,
    }
    return {name: makers[name]() for name in config.scorers}
