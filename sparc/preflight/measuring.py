"""What evaluation measures with: the scorers' weights and the tasks, looked at or fetched."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from huggingface_hub import constants
from transformers import AutoConfig

from sparc.config import ClassifierConfig, Config, LmEvalConfig
from sparc.config.locations import EMBEDDED
from sparc.errors import UserError
from sparc.evaluation.harness import fetch_tasks, known_tasks
from sparc.generation.detoxify import detoxify_file
from sparc.generation.scorers import lexicon_of, load_scorers
from sparc.preflight.findings import Row, failures, size
from sparc.sources.hub import probe
from sparc.tasks.dataset import Dataset

_WITHOUT_WEIGHTS = ("lexicon", "repetition")
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model")


def scorer_rows(
    config: Config,
    dataset: Dataset | None,
    classifier_is_here: Callable[[], bool] = lambda: True,
    *,
    fetch: bool = False,
) -> list[Row]:
    """One row a scorer.

    Args:
        config: The run's.
        dataset: May hold the lexicon; None if not known.
        classifier_is_here: Whether the classifier is read from a folder or the cache; raises
            UserError where it cannot be had.
        fetch: Load what has weights as a run does, which downloads them, and let it go again;
            else no weights are loaded.
    """
    evaluation = config.evaluation
    subjects = {
        "detoxify": evaluation.detoxify.source,
        "classifier": evaluation.classifier.path,
        "lexicon": evaluation.lexicon.path,
    }
    rows: list[Row] = []
    for name in evaluation.scorers:
        if fetch and name in _WITHOUT_WEIGHTS:
            continue
        with failures(rows, f"scorer {name}", subjects.get(name) or "no file of its own"):
            if fetch:
                alone = replace(evaluation, scorers=[name])
                load_scorers(alone, None, "cpu", Path(config.paths.cache))
            ok: bool | None = True
            found = "needs no file"
            if name == "detoxify":
                found = _detoxify(evaluation.detoxify.source)
            elif name == "classifier":
                found = _classifier(evaluation.classifier, classifier_is_here)
            elif name == "lexicon" and dataset is None and evaluation.lexicon.path is None:
                ok, found = None, "the data set's, which cannot be read yet"
            elif name == "lexicon":
                lexicon_of(evaluation, dataset.lexicon if dataset else None)
                found = evaluation.lexicon.path or "of the data set"
            rows.append(Row(f"scorer {name}", ok, found))
    return rows


def task_rows(config: LmEvalConfig, *, fetch: bool = False) -> list[Row]:
    """One row where tasks of lm-evaluation-harness are asked for, else none.

    Args:
        config: Names the tasks.
        fetch: Load them as a run does, which downloads their data into the hub's cache; else
            none of their data are read.
    """
    rows: list[Row] = []
    if config.tasks:
        named = ", ".join(config.tasks)
        with failures(rows, "lm-eval tasks", named):
            (fetch_tasks if fetch else known_tasks)(config)
            told = "data read" if fetch else "known; their data are not looked at"
            rows.append(Row("lm-eval tasks", True, f"{named}: {told}"))
    return rows


def _detoxify(source: str) -> str:
    if source == EMBEDDED:
        return "embedded"
    file = detoxify_file(source)
    if not file.is_file():
        raise UserError(
            f"weights of Detoxify '{source}' are not here ({file}): run stage=prefetch where "
            "there is a network, or name a checkpoint file: evaluation.detoxify.source=FILE"
        )
    base = _base_model(file)
    if base is not None and not Path(base).is_dir():
        _require_tokenizer(base)
    return f"{source}, {size(file.stat().st_size)} in {file.parent}"


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

    def is_held(*names: str) -> bool:
        held = (huggingface_hub.try_to_load_from_cache(base, name) for name in names)
        return any(isinstance(path, str) for path in held)

    if is_held("config.json") and is_held(*_VOCABULARIES):
        return
    try:
        probe(base, None, f"the tokenizer of Detoxify ({base})")
    except UserError as error:
        raise UserError(
            f"{error}, and it is not in the cache ({constants.HF_HUB_CACHE}): run stage=prefetch "
            "where there is a network"
        ) from error


def _classifier(config: ClassifierConfig, is_here: Callable[[], bool]) -> str:
    path = config.path
    assert path is not None  # else the configuration is refused
    if not is_here():
        return f"{path}, reachable"
    AutoConfig.from_pretrained(path, revision=config.revision or "main", trust_remote_code=False)
    return path if Path(path).is_dir() else f"{path}, in the cache"
