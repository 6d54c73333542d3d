"""Questions to the hub, all asked at once: where there is no network each waits its whole time."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sparc.behaviours.streams import is_local
from sparc.config import Config, DatasetConfig, SourceConfig
from sparc.hub import model_is_local, probe
from sparc.locations import model_folder


@dataclass(frozen=True)
class Questions:
    """Answers to come. model, classifier: whether they are read from a folder or the cache, and
    not from the hub. sources: (key, source, its commit hash) of each data set of the hub. Asking
    for the result raises UserError where something cannot be had."""

    model: Future[bool]
    classifier: Future[bool] | None
    sources: list[tuple[str, SourceConfig, Future[str]]]


def ask(config: Config, pool: ThreadPoolExecutor) -> Questions:
    """Ask for the model, the classifier and every data set that `config` names.

    The pool should have a thread for each of them.
    """
    evaluation = config.evaluation
    path = evaluation.classifier.path if "classifier" in evaluation.scorers else None
    key = "evaluation.classifier.path"

    def commit(key: str, source: SourceConfig) -> str:
        where = f"{key}={source.path}"
        return probe(str(source.path), source.revision, where, kind="dataset")

    return Questions(
        model=pool.submit(_is_local, config.model.path, config.model.revision, "model.path"),
        classifier=pool.submit(_is_local, path, None, key) if path else None,
        sources=[
            (key, source, pool.submit(commit, key, source))
            for key, source in sources(config.dataset)
            if not is_local(source)
        ],
    )


def sources(config: DatasetConfig) -> Iterator[tuple[str, SourceConfig]]:
    """(key, source) of everything that the data set reads, each data set once."""
    named = [
        ("prompts", config.prompts),
        ("general", config.general),
        ("undesired", config.undesired),
        ("texts.general", config.texts.general),
        ("texts.benign", config.texts.benign),
        ("texts.undesired", config.texts.undesired),
        *(("texts.others", each) for each in config.texts.others),
    ]
    seen = set()
    for key, source in named:
        identity = (source.path, source.config, source.split, source.revision)
        if source.path is not None and identity not in seen:
            seen.add(identity)
            yield f"dataset.{key}.path", source


def _is_local(path: str, revision: str | None, key: str) -> bool:
    source = model_folder(path)
    return Path(source).is_dir() or model_is_local(source, revision, f"{key}={path}")
