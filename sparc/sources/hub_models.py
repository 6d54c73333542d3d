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

# A model's own files at the root of its repository; not weights of other frameworks.
_SMALL = (".json", ".txt", ".model", ".jinja", ".tiktoken")
_WEIGHTS = (("model", ".safetensors"), ("pytorch_model", ".bin"))
_WEIGHT_FILES = (".safetensors", ".bin")
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

    weights: without them only configuration and tokenizer are downloaded. newest: ask the hub
    whether a branch has moved. Raises UserError where neither the hub nor the cache gives the
    model.
    """
    if not model_is_local(repository, revision, where, newest=newest):
        try:
            tree = huggingface_hub.HfApi().list_repo_tree(repository, revision=revision)
            names = needed(entry.path for entry in tree)
            names = [each for each in names if weights or not each.endswith(_WEIGHT_FILES)]
            huggingface_hub.snapshot_download(repository, revision=revision, allow_patterns=names)
        except Exception as error:
            raise explained(error, repository, where) from error
    found = huggingface_hub.try_to_load_from_cache(repository, "config.json", revision=revision)
    if not isinstance(found, str):
        raise UserError(f"{where}: not in the cache ({constants.HF_HUB_CACHE}) after all")
    return Path(found).parent


def model_is_local(
    repository: str, revision: str | None, where: str, *, newest: bool = False
) -> bool:
    """Whether a model must be read from the cache (True) or can be had from the hub (False).

    The hub is not asked about what the cache holds whole, unless for the `newest`. The cache also
    serves where the hub does not answer or refuses, if it holds the weights. Raises UserError where
    neither gives the model.
    """
    if not newest and is_whole(repository, revision):
        return True
    try:
        probe(repository, revision, where)
    except UserError as error:
        if is_cached(repository, revision):
            if not offline():
                _log.warning("%s; using the copy in the cache", error)
            return True
        if not isinstance(error, Unreachable):
            raise
        raise UserError(
            f"{error}, and the cache ({constants.HF_HUB_CACHE}) does not hold it whole: run "
            "stage=prefetch where there is a network, or give a local folder"
        ) from error
    return False


def needed(names: Iterable[str]) -> list[str]:
    """The files of a model's repository that loading it reads, of all its files' `names`."""
    roots = [name for name in names if "/" not in name]
    kept = [name for name in roots if name.endswith(_SMALL)]
    for start, end in _WEIGHTS:
        weights = [name for name in roots if name.startswith(start) and name.endswith(end)]
        if weights:
            # the other format's list of parts would be taken for a promise of those parts
            other = [index for s, e in _WEIGHTS if e != end for index in (f"{s}{e}.index.json",)]
            return sorted({*kept, *weights} - set(other))
    return sorted(kept)


def is_whole(repository: str, revision: str | None) -> bool:
    """Whether the hub's cache is known to hold every file that loading a model reads.

    That is known where its files were downloaded together, by `model_folder_of` for one.
    """
    try:
        tree = huggingface_hub.get_cached_repo_tree(repository, revision=revision)
    except (errors.CachedRepoTreeNotFoundError, errors.HFValidationError, OSError, ValueError):
        return False
    found = huggingface_hub.try_to_load_from_cache(repository, "config.json", revision=revision)
    if not isinstance(found, str):
        return False
    return all((Path(found).parent / name).is_file() for name in needed(f.path for f in tree))


def is_cached(repository: str, revision: str | None) -> bool:
    """Whether the hub's cache holds a model with configuration and all weight files."""
    found = huggingface_hub.try_to_load_from_cache(repository, "config.json", revision=revision)
    if not isinstance(found, str):
        return False
    folder = Path(found).parent
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return True
        index = folder / f"{name}.index.json"
        if index.is_file():
            parts = set(json.loads(index.read_text())["weight_map"].values())
            return all((folder / part).is_file() for part in parts)
    return False


def cached_commit(repository: str, revision: str | None) -> str | None:
    """The commit of a model's revision (None: main) as the cache has it, None where it has none."""
    found = huggingface_hub.try_to_load_from_cache(repository, "config.json", revision=revision)
    return Path(found).parent.name if isinstance(found, str) else None
