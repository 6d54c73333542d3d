"""The scorers that a configuration names, and what identifies their scores."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sparc.behaviours.reading import lines
from sparc.config import EvaluationConfig
from sparc.datasets import Dataset, Lexicon
from sparc.errors import UserError
from sparc.evaluation.detoxify_checkpoint import detoxify_checkpoint
from sparc.evaluation.scorers import (
    Scorer,
    classifier_scorer,
    detoxify_file,
    detoxify_scorer,
    lexicon_scorer,
    repetition_scorer,
)
from sparc.hub_models import cached_commit
from sparc.locations import EMBEDDED, EMBEDDED_CLASSIFIER
from sparc.storage.digests import digest, file_digest

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
            source = detoxify_checkpoint(EMBEDDED_CLASSIFIER, cache / "detoxify")
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
        return lexicon_scorer(*_lexicon(config, dataset))

    makers: dict[str, Callable[[], Scorer]] = {
        "detoxify": detoxify,
        "classifier": classifier,
        "lexicon": lexicon,
        "repetition": repetition_scorer,
    }
    return {name: makers[name]() for name in config.scorers}


def scorer_key(name: str, config: EvaluationConfig, dataset: Dataset) -> dict[str, Any]:
    """What the scores of a scorer depend on: its options, with the content of its files.

    That is a hash of local ones, and the commit of a classifier of the hub. Ask once the scorer is
    loaded: only then it is known which commit that is, and whether Detoxify's file is whole.
    """
    if name == "lexicon":
        words, pairs = _lexicon(config, dataset)
        return {"name": name, "lexicon": digest([sorted(words), sorted(pairs)])}
    options = asdict(getattr(config, name)) if hasattr(config, name) else {}
    source = options.get("source", options.get("path"))
    if source is not None:
        options["content"] = _content(name, source, options.get("revision"))
    return {"name": name, **options}


def _content(name: str, source: str, revision: str | None) -> str | None:
    """Hash of a scorer's file or of the files of its folder; of a hub id the commit."""
    path = EMBEDDED_CLASSIFIER if source == EMBEDDED else Path(source)
    if name == "detoxify" and source != EMBEDDED:
        path = detoxify_file(source)
    files = sorted(each for each in path.glob("*") if each.is_file()) if path.is_dir() else [path]
    if not all(each.is_file() for each in files):
        return cached_commit(source, revision) if name == "classifier" else None
    return digest({each.name: file_digest(each) for each in files})


def _lexicon(config: EvaluationConfig, dataset: Dataset) -> Lexicon:
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
