"""Questions to the hub, all asked at once: where there is no network each waits its whole time."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sparc.config import GENERAL, UNDESIRED, Config, SourceConfig, answers, settings_of
from sparc.config.locations import model_folder
from sparc.sources.hub import probe
from sparc.sources.hub_models import model_is_local
from sparc.sources.streams import is_local


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
    scorer = evaluation.classifier
    path = scorer.path if "classifier" in evaluation.scorers else None
    key = "evaluation.classifier.path"

    def commit(key: str, source: SourceConfig) -> str:
        where = f"{key}={source.path}"
        return probe(str(source.path), source.revision, where, kind="dataset")

    return Questions(
        model=pool.submit(_is_local, config.model.path, config.model.revision, "model.path"),
        classifier=pool.submit(_is_local, path, scorer.revision, key) if path else None,
        sources=[
            (key, source, pool.submit(commit, key, source))
            for key, source in sources(config)
            if not is_local(source)
        ],
    )


def identity(source: SourceConfig) -> tuple[str | None, str | None, str, str | None]:
    """What tells one data set from another: path, configuration, split and revision."""
    return source.path, source.config, source.split, source.revision


def sources(config: Config) -> Iterator[tuple[str, SourceConfig]]:
    """(key, source) of everything that a run reads of the data set, each data set once."""
    data = config.dataset
    named: list[tuple[str, SourceConfig]] = [
        ("prompts", data.prompts),
        *((name, settings_of(data, name)) for name in (GENERAL, UNDESIRED) if _read(config, name)),
        ("texts.general", data.texts.general),
        ("texts.benign", data.texts.benign),
        ("texts.undesired", data.texts.undesired),
        *(("texts.others", each) for each in data.texts.others),
    ]
    seen = set()
    for key, source in named:
        if source.path is not None and identity(source) not in seen:
            seen.add(identity(source))
            yield f"dataset.{key}.path", source


def is_sequences(config: Config, name: str) -> bool:
    """Whether reference set `name` is token sequences of a stream, and a run reads them."""
    return settings_of(config.dataset, name).seq_len is not None and _read(config, name)


def _read(config: Config, name: str) -> bool:
    """Whether a run reads texts for reference set `name`, and not a run's or the model's own.

    With a given selection token sequences are not; other texts are read with the prompts.
    """
    settings = settings_of(config.dataset, name)
    given = config.pruning.method == "from_file" and config.stage != "attribute"
    if settings.from_run is not None or (given and settings.seq_len is not None):
        return False
    return not (name == UNDESIRED and answers(settings))


def _is_local(path: str, revision: str | None, key: str) -> bool:
    source = model_folder(path)
    return Path(source).is_dir() or model_is_local(source, revision, f"{key}={path}")
