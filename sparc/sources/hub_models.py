"""Models of the hub and its cache: what the cache holds whole is taken from there, unasked.

Many jobs behind one address that all ask would soon be refused. So a branch stands for the commit
that was first taken, until `stage=prefetch` asks for the newest.
"""

import json
import logging
from collections.abc import Iterable
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants, errors

from sparc.errors import UserError
from sparc.sources.hub import Unreachable, explained, offline, probe

WEIGHTS = (".safetensors", ".bin")  # how weight files end, the preferred ones first
# A model's own files at the root of its repository; not weights of other frameworks.
_SMALL = (".json", ".txt", ".model", ".jinja", ".tiktoken")
_NAMES = dict(zip(WEIGHTS, ("model", "pytorch_model"), strict=True))  # how they begin
_log = logging.getLogger(__name__)


def model_folder_of(
    repository: str,
    revision: str | None,
    where: str,
    *,
    weights: bool = True,
    newest: bool = False,
) -> Path:
    """The folder of the cache that holds a model, named by its commit; downloaded where it must be.

    Args:
        repository: The model's hub id.
        revision: A branch, tag or commit; None for main.
        where: What to name in errors.
        weights: Whether they are downloaded, or configuration and tokenizer alone.
        newest: Whether the hub is asked if a branch has moved.

    Raises:
        UserError: Where neither the hub nor the cache gives the model.
    """
    if hub_commit(repository, revision, where, newest=newest) is not None:
        try:
            tree = huggingface_hub.HfApi().list_repo_tree(repository, revision=revision)
            names = needed(entry.path for entry in tree)
            names = [each for each in names if weights or not each.endswith(WEIGHTS)]
            huggingface_hub.snapshot_download(repository, revision=revision, allow_patterns=names)
        except Exception as error:
            raise explained(error, repository, where) from error
    return cached_folder(repository, revision, where)


def hub_commit(
    repository: str, revision: str | None, where: str, *, newest: bool = False
) -> str | None:
    """The commit under which the hub has a model; None where it must be read from the cache.

    The hub is not asked about what the cache holds whole, unless for the `newest`. The cache also
    serves where the hub does not answer or refuses, if it holds the weights. Raises UserError where
    neither gives the model.
    """
    if not newest and is_whole(repository, revision):
        return None
    try:
        return probe(repository, revision, where)
    except UserError as error:
        if is_cached(repository, revision):
            if not offline():
                _log.warning("%s; using the copy in the cache", error)
            return None
        if not isinstance(error, Unreachable):
            raise
        raise UserError(
            f"{error}, and the cache ({constants.HF_HUB_CACHE}) does not hold it whole: run "
            "stage=prefetch where there is a network, or give a local folder"
        ) from error


def needed(names: Iterable[str]) -> list[str]:
    """The files of a model's repository that loading it reads, of all its files' `names`."""
    roots = [name for name in names if "/" not in name]
    kept = {name for name in roots if name.endswith(_SMALL)}
    for end, start in _NAMES.items():
        weights = {name for name in roots if name.startswith(start) and name.endswith(end)}
        if weights:
            # the other format's list of parts would be taken for a promise of those parts
            lists = {f"{s}{e}.index.json" for e, s in _NAMES.items() if e != end}
            return sorted((kept | weights) - lists)
    return sorted(kept)


def is_whole(repository: str, revision: str | None) -> bool:
    """Whether the hub's cache is known to hold every file that loading a model reads.

    That is known where its files were downloaded together, by `model_folder_of` for one.
    """
    try:
        tree = huggingface_hub.get_cached_repo_tree(repository, revision=revision)
    except (errors.CachedRepoTreeNotFoundError, errors.HFValidationError, OSError, ValueError):
        return False
    folder = _cached(repository, revision)
    names = needed(entry.path for entry in tree)
    return folder is not None and all((folder / name).is_file() for name in names)


def is_cached(repository: str, revision: str | None) -> bool:
    """Whether the hub's cache holds a model with configuration and all weight files."""
    folder = _cached(repository, revision)
    if folder is None:
        return False
    for end, start in _NAMES.items():
        index = folder / f"{start}{end}.index.json"
        if (folder / f"{start}{end}").is_file():
            return True
        if index.is_file():
            parts = set(json.loads(index.read_text())["weight_map"].values())
            return all((folder / part).is_file() for part in parts)
    return False


def cached_folder(repository: str, revision: str | None, where: str) -> Path:
    """The folder of the cache that holds a model. Raises UserError where there is none."""
    folder = _cached(repository, revision)
    if folder is None:
        raise UserError(f"{where}: not in the cache ({constants.HF_HUB_CACHE}) after all")
    return folder


def _cached(repository: str, revision: str | None) -> Path | None:
    found = huggingface_hub.try_to_load_from_cache(repository, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None
