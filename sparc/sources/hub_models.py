"""Models of the hub and its cache: what the cache holds whole is taken from there, unasked.

Many jobs behind one address that all ask would soon be refused. So a branch stands for the commit
that was first taken, until `stage=prefetch` asks for the newest.
"""

import logging
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants, errors

from sparc.errors import UserError
from sparc.sources.hub import Unreachable, explained, probe
from sparc.sources.weights import WEIGHTS, needed, weight_files

_log = logging.getLogger(__name__)


def model_folder_of(
    repository: str, revision: str | None, where: str, *, weights: bool = True, newest: bool = False
) -> Path:
    """The folder of the cache that holds a model, named by its commit; downloaded where it must be.

    Without `weights` that is configuration and tokenizer alone; for the `newest` the hub is asked
    if a branch has moved. Raises UserError where neither the hub nor the cache gives the model.
    """
    if hub_commit(repository, revision, where, newest=newest) is not None:
        try:
            tree = huggingface_hub.HfApi().list_repo_tree(repository, revision=revision)
            named = needed(entry.path for entry in tree)
            names = [each for each in named if weights or not each.endswith(WEIGHTS)]
            huggingface_hub.snapshot_download(repository, revision=revision, allow_patterns=names)
        except Exception as error:
            raise explained(error, repository, where) from error
    return cached_folder(repository, revision, where)


def hub_commit(
    repository: str, revision: str | None, where: str, *, newest: bool = False
) -> str | None:
    """The commit under which the hub has a model; None where the cache serves.

    The cache does what it holds whole, unless the `newest` is asked for, and where the hub does
    not give the model. Raises UserError where neither gives it.
    """
    if not newest and is_whole(repository, revision):
        return None
    try:
        return probe(repository, revision, where)
    except UserError as error:
        if is_cached(repository, revision):
            if not constants.is_offline_mode():
                _log.warning("%s; using the copy in the cache", error)
            return None
        if not isinstance(error, Unreachable):
            raise
        raise UserError(
            f"{error}, and the cache ({constants.HF_HUB_CACHE}) does not hold it whole: run "
            "stage=prefetch where there is a network, or give a local folder"
        ) from error


def is_whole(repository: str, revision: str | None) -> bool:
    """Whether the cache holds all files of a model, known where they were downloaded together."""
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
    if folder is None or not (names := weight_files(folder, repository)):
        return False
    return all((folder / name).is_file() for name in names)


def cached_folder(repository: str, revision: str | None, where: str) -> Path:
    """The folder of the cache that holds a model. Raises UserError where there is none."""
    folder = _cached(repository, revision)
    if folder is None:
        raise UserError(f"{where}: not in the cache ({constants.HF_HUB_CACHE}) after all")
    return folder


def _cached(repository: str, revision: str | None) -> Path | None:
    found = huggingface_hub.try_to_load_from_cache(repository, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None
