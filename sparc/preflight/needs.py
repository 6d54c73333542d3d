"""What a run reads that may come from the hub: one list, asked for all at once.

Where there is no network each question waits its whole time.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sparc.config import (
    GENERAL,
    UNDESIRED,
    Config,
    SourceConfig,
    answers,
    is_given,
    settings_of,
    text_sources,
)
from sparc.config.locations import model_folder
from sparc.sources.hub import probe
from sparc.sources.hub_models import hub_commit
from sparc.sources.streams import identity, is_local


@dataclass(frozen=True, eq=False)
class Need:
    """A model or a data set that a run reads."""

    key: str
    """The setting that names it."""
    path: str
    revision: str | None
    source: SourceConfig | None = None
    """Of a data set; None for a model."""

    def ask(self) -> str | None:
        """The commit that the hub has of it; None where it is read from a folder or the cache.

        Raises UserError where it cannot be had. A data set of the hub is always asked for.
        """
        where = f"{self.key}={self.path}"
        if self.source is not None:
            local = is_local(self.source)
            return None if local else probe(self.path, self.revision, where, kind="dataset")
        path = model_folder(self.path)
        return None if Path(path).is_dir() else hub_commit(path, self.revision, where)


Answers = Mapping[Need, "Future[str | None]"]


def ask(config: Config, pool: ThreadPoolExecutor) -> Answers:
    """Ask for all that `config` needs; `pool` should have a thread for each."""
    return {need: pool.submit(need.ask) for need in needs(config)}


def needs(config: Config) -> Iterator[Need]:
    """The model, the classifier that scores, and each data set once."""
    yield Need("model.path", config.model.path, config.model.revision)
    classifier = config.evaluation.classifier
    if "classifier" in config.evaluation.scorers and classifier.path:
        yield Need("evaluation.classifier.path", classifier.path, classifier.revision)
    data = config.dataset
    named: list[tuple[str, SourceConfig]] = [
        ("prompts", data.prompts),
        *((name, settings_of(data, name)) for name in read_sets(config)),
        *((f"texts.{key.partition('[')[0]}", each) for key, each in text_sources(data.texts)),
    ]
    seen = []
    for key, source in named:
        if source.path is not None and identity(source) not in seen:
            seen.append(identity(source))
            yield Need(f"dataset.{key}.path", source.path, source.revision, source)


def read_sets(config: Config) -> Iterator[str]:
    """The reference sets for which a run reads texts, and not a run's or the model's own.

    With a given selection token sequences are not read; other texts are, with the prompts.
    """
    for name in (GENERAL, UNDESIRED):
        each = settings_of(config.dataset, name)
        own = name == UNDESIRED and answers(each)
        if not (own or each.from_run or (is_given(config) and each.seq_len is not None)):
            yield name
