"""The scorers' weights: whether they are there, and fetching them as their own classes do."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from huggingface_hub import constants
from transformers import AutoConfig

from sparc.config import ClassifierConfig, Config
from sparc.config.locations import EMBEDDED
from sparc.errors import UserError
from sparc.generation.detoxify import detoxify_file
from sparc.generation.scorers import lexicon_of, load_scorers
from sparc.preflight.rows import Row, failures, size
from sparc.sources.hub import probe
from sparc.tasks.dataset import Dataset


def check_scorers(
    config: Config, dataset: Dataset | None, classifier: Callable[[], bool]
) -> list[Row]:
    """One row a scorer; loads no weights.

    dataset: may hold the lexicon; None if not known. classifier: whether the classifier is read
    from a folder or the cache; raises UserError where it cannot be had.
    """
    rows: list[Row] = []
    for name in config.evaluation.scorers:
        with failures(rows, f"scorer {name}", _subject(name, config)):
            rows.extend(_found(name, config, dataset, classifier))
    return rows


def _subject(name: str, config: Config) -> str:
    evaluation = config.evaluation
    named = {
        "detoxify": evaluation.detoxify.source,
        "classifier": evaluation.classifier.path,
        "lexicon": evaluation.lexicon.path,
    }
    return named.get(name) or "no file of its own"


def _found(
    name: str, config: Config, dataset: Dataset | None, classifier: Callable[[], bool]
) -> Iterator[Row]:
    title, evaluation = f"scorer {name}", config.evaluation
    if name == "detoxify":
        yield _detoxify(title, evaluation.detoxify.source)
    elif name == "classifier":
        yield _classifier(title, evaluation.classifier, classifier)
    elif name == "repetition":
        yield Row(title, True, "needs no file")
    elif evaluation.lexicon.path is not None or dataset is not None:
        assert dataset is not None or evaluation.lexicon.path is not None
        lexicon_of(evaluation, dataset.lexicon if dataset else None)
        yield Row(title, True, evaluation.lexicon.path or "of the data set")
    else:
        yield Row(title, None, "the data set's, which cannot be read yet")


def _detoxify(title: str, source: str) -> Row:
    if source == EMBEDDED:
        return Row(title, True, "embedded")
    file = detoxify_file(source)
    if not file.is_file():
        raise UserError(
            f"weights of Detoxify '{source}' are not here ({file}): run stage=prefetch where "
            "there is a network, or name a checkpoint file: evaluation.detoxify.source=FILE"
        )
    base = _base_model(file)
    if base is not None and not Path(base).is_dir():
        _require_tokenizer(base)
    return Row(title, True, f"{source}, {size(file.stat().st_size)} in {file.parent}")


def _base_model(file: Path) -> str | None:
    """The folder or hub id from which Detoxify reads configuration and tokenizer.

    None where the checkpoint does not say so in a way that can be read without running its code.
    """
    try:
        content: Any = torch.load(file, map_location="meta", weights_only=True, mmap=True)
        return str(content["config"]["arch"]["args"]["model_type"])
    except Exception:  # whatever a foreign pickle holds
        return None


def _require_tokenizer(base: str) -> None:
    """Raise UserError where neither the cache nor the hub gives configuration and vocabulary."""
    vocabularies = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model")
    held = [huggingface_hub.try_to_load_from_cache(base, name) for name in vocabularies]
    configured = huggingface_hub.try_to_load_from_cache(base, "config.json")
    if isinstance(configured, str) and any(isinstance(path, str) for path in held):
        return
    try:
        probe(base, None, f"the tokenizer of Detoxify ({base})")
    except UserError as error:
        raise UserError(
            f"{error}, and it is not in the cache ({constants.HF_HUB_CACHE}): run stage=prefetch "
            "where there is a network"
        ) from error


def _classifier(title: str, config: ClassifierConfig, local: Callable[[], bool]) -> Row:
    path = config.path
    if path is None:
        raise UserError(
            "evaluation.classifier.path is not set: name a sequence classifier (hub id or folder)"
        )
    if not local():
        return Row(title, True, f"{path}, reachable")
    AutoConfig.from_pretrained(path, revision=config.revision or "main", trust_remote_code=False)
    return Row(title, True, path if Path(path).is_dir() else f"{path}, in the cache")


def fetch_scorers(config: Config, dataset: Dataset | None) -> list[Row]:
    """Load every scorer as a run does, which downloads what is missing, and let it go again."""
    rows: list[Row] = []
    for name in config.evaluation.scorers:
        if name in ("lexicon", "repetition"):
            continue
        with failures(rows, f"scorer {name}", _subject(name, config)):
            alone = replace(config.evaluation, scorers=[name])
            load_scorers(alone, None, "cpu", Path(config.paths.cache))
            rows.extend(_found(name, config, dataset, lambda: True))
    return rows
