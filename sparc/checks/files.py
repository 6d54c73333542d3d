"""Files that a configuration names and that are not there; told before torch is imported."""

import os
from collections.abc import Iterator

from sparc.checks.values import AHEAD
from sparc.config import Config, SourceConfig
from sparc.config.locations import EMBEDDED, looks_local

_DETOXIFY = ("original", "unbiased", "multilingual", "original-small", "unbiased-small")


def file_complaints(config: Config) -> Iterator[str]:
    if config.stage in (*AHEAD, "report"):  # their tables say it; a report reads none of them
        return
    for key, source in _sources(config):
        path = source.path
        if path is not None and path != EMBEDDED and looks_local(path):
            yield from _missing(f"{key}.path", path, folder=True)
    evaluation = config.evaluation
    if "lexicon" in evaluation.scorers and evaluation.lexicon.path is not None:
        yield from _missing("evaluation.lexicon.path", evaluation.lexicon.path, folder=False)
    classifier = evaluation.classifier.path
    if "classifier" in evaluation.scorers and classifier is not None and looks_local(classifier):
        yield from _missing("evaluation.classifier.path", classifier, folder=True)
    detoxify = evaluation.detoxify.source
    if "detoxify" in evaluation.scorers and detoxify not in (EMBEDDED, *_DETOXIFY):
        yield from _missing("evaluation.detoxify.source", detoxify, folder=True)


def _sources(config: Config) -> Iterator[tuple[str, SourceConfig]]:
    dataset, texts = config.dataset, config.dataset.texts
    yield "dataset.prompts", dataset.prompts
    for name, references in (("general", dataset.general), ("undesired", dataset.undesired)):
        if references.from_run is None:
            yield f"dataset.{name}", references
    for name in ("general", "benign", "undesired"):
        yield f"dataset.texts.{name}", getattr(texts, name)
    for number, other in enumerate(texts.others):
        yield f"dataset.texts.others[{number}]", other


def _missing(key: str, path: str, *, folder: bool) -> Iterator[str]:
    place = os.path.expanduser(path)
    if os.path.isfile(place) or (folder and os.path.isdir(place)):
        return
    if os.path.isdir(place):
        yield f"{key}={path}: is a folder; give a file"
    elif os.path.exists(place):
        yield f"{key}={path}: is no regular file"
    else:
        yield f"{key}={path}: no such file"
