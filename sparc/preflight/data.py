"""The data: whether it can be had, and reading it as a run does, so that the cache holds it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sparc.config import GENERAL, UNDESIRED, Config, ReferenceConfig, SourceConfig, settings_of
from sparc.errors import UserError
from sparc.preflight.questions import Questions, identity, is_sequences, sources
from sparc.preflight.rows import Row, failures, size
from sparc.sources.streams import is_local, noted, pinned
from sparc.sources.texts import Wanted, records
from sparc.storage.artifacts import read_json
from sparc.tasks.completions import text_share
from sparc.tasks.dataset import Dataset, load_dataset
from sparc.tasks.files import perplexity_texts
from sparc.tasks.sequences import sequences

_KEPT = ("records", "sequences")  # what the cache holds of data sets
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


def check_data(
    config: Config, questions: Questions, tokenizer: Callable[[], Any]
) -> tuple[list[Row], Dataset | None]:
    """What can be said of the data, and the data set itself where it can be read here and now.

    Local files are read as a run does, so that a bad line or a missing column is found; so is
    what the cache holds of the hub's data sets where the hub does not give them. Of those that it
    gives nothing is read. tokenizer: gives the model's, None where it is not here.
    """
    rows: list[Row] = []
    refused = []
    cache = Path(config.paths.cache)
    for _, source, answer in questions.sources:
        try:
            rows.append(_reachable(source, answer.result(), cache))
        except UserError as error:
            refused.append((source, str(error)))
    if rows or None in [noted(source, cache) for source, _ in refused]:
        rows += _first_records(config)
        rows += [_refused(source, reason, cache) for source, reason in refused]
        return rows, None
    with failures(rows, "data", config.dataset.name):
        dataset = load_dataset(config.dataset, config.evaluation, cache)  # asks nobody
        for _, settings, seed in _sequence_sets(config):
            if not is_local(settings) and tokenizer() is not None:
                sequences(settings, tokenizer(), seed, cache)
        return [_described(dataset, config, in_cache=bool(refused))], dataset
    return rows, None


def fetch_data(
    config: Config, tokenizer: Any, progress: Progress
) -> tuple[list[Row], Dataset | None]:
    """Read all data as a run does, so that what comes from the hub is in the cache afterwards.

    The hub is asked for the newest commit of each data set. tokenizer: the model's, None where it
    could not be had. Returns what was found and the data set, None where it cannot be read.
    """
    rows: list[Row] = []
    cache = Path(config.paths.cache)
    with failures(rows, "data", config.dataset.name):
        for _, source in sources(config):
            pinned(source, cache, newest=True)
        dataset = load_dataset(config.dataset, config.evaluation, cache)
        if dataset.on_model is not None:  # then it may read these only when the model is there
            perplexity_texts(config.dataset, config.evaluation, ["none"], cache)
        for name, settings, seed in _sequence_sets(config):
            if tokenizer is None:
                raise UserError(f"the {name} references need the model's tokenizer: see model")
            with progress(f"references: {name} sequences", settings.samples) as advance:
                sequences(settings, tokenizer, seed, cache, advance)
        row = _described(dataset, config, in_cache=False)
        remote = any(not is_local(source) for _, source in sources(config))
        kept = f"; what came from the hub: {_kept(cache)}" if remote else ""
        return [replace(row, found=row.found + kept)], dataset
    return rows, None


def _first_records(config: Config) -> list[Row]:
    """A row for each local file: whether it is there, and has the column asked for."""
    rows: list[Row] = []
    for key, source in sources(config):
        if is_local(source):
            with failures(rows, "data", f"{key}={source.path}"):
                next(records(source, Wanted((source.column,), most=1)), None)
                rows.append(Row("data", True, str(source.path)))
    return rows


def _sequence_sets(config: Config) -> Iterator[tuple[str, ReferenceConfig, int]]:
    """(set, settings, reference seed) of the sets that are token sequences of a stream."""
    for name in (GENERAL, UNDESIRED):
        if not is_sequences(config, name):
            continue
        settings = settings_of(config.dataset, name)
        for seed in config.dataset.reference_seeds:
            yield name, replace(settings, samples=text_share(settings)), seed


def _reachable(source: SourceConfig, commit: str, cache: Path) -> Row:
    """The row of a data set that the hub gives; runs go on with the commit that was taken first."""
    taken = noted(source, cache)
    if taken is None or taken == commit:
        return Row("data", True, f"{source.path}, reachable (revision {commit[:12]})")
    found = f"{source.path}, revision {taken[:12]} as taken before; the hub has {commit[:12]}"
    return Row("data", True, found, "a newer revision is taken by stage=prefetch only")


def _refused(source: SourceConfig, reason: str, cache: Path) -> Row:
    """The row of a data set that the hub does not give: fine where the cache holds it."""
    commit = noted(source, cache)
    wanted = (*identity(source)[:-1], commit)
    keys = (
        (read_json(manifest) or {}).get("key", {})
        for kind in _KEPT
        for manifest in (cache / kind).glob("*/manifest.json")
    )
    names = ("path", "config", "split", "revision")
    if commit is not None and any(tuple(key.get(n) for n in names) == wanted for key in keys):
        return Row("data", True, f"{source.path}, in the cache (revision {commit[:12]})")
    advice = "run stage=prefetch where there is a network, or give a local file"
    return Row("data", False, str(source.path), f"{reason}; {advice}")


def _kept(cache: Path) -> str:
    """Where the cache keeps what came from the hub, and how much of it."""
    folders = [cache / kind for kind in _KEPT]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return f"{size(sum(file.stat().st_size for file in files))} in {cache}"


def _described(dataset: Dataset, config: Config, *, in_cache: bool) -> Row:
    name = f"{config.dataset.name}{', in the cache' if in_cache else ''}"
    if not dataset.prompts:
        return Row("data", True, f"{name}; which of its prompts count is seen on the model")
    prompts = sum(len(each) for each in dataset.prompts.values())
    texts = sum(len(each) for each in dataset.texts.values())
    return Row("data", True, f"{name}: {prompts} prompts to evaluate, {texts} texts")
