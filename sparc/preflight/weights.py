"""The model: whether it can be had, how large it is, and fetching it into the hub's cache."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import constants

from sparc.config import ModelConfig
from sparc.config.locations import EMBEDDED, model_folder
from sparc.errors import UserError
from sparc.models.loading import read_architecture
from sparc.models.tokenizing import load_tokenizer
from sparc.preflight.rows import Row, size
from sparc.sources.hub import explained
from sparc.sources.hub_models import is_cached, model_folder_of, needed


@dataclass(frozen=True)
class Found:
    """A model that can be had.

    architecture: transformers' configuration. bytes: of its weight files. download: what is still
    to be downloaded, in bytes.
    """

    source: str
    architecture: Any
    bytes: int
    download: int


def find_model(config: ModelConfig, local: bool) -> Found:
    """Where the model is and how large it is; downloads no weights and keeps nothing.

    local: whether it is read from a folder or the cache, and not from the hub.

    Raises UserError where it can be had neither from a folder or the cache nor from the hub.
    """
    source, where = model_folder(config.path), f"model.path={config.path}"
    if Path(source).is_dir():
        return _in_folder(source, Path(source), where)
    if local or is_cached(source, config.revision):
        return _in_folder(source, _cached_folder(source, config.revision), where)
    try:
        sizes = _on_hub(source, config.revision)
        with tempfile.TemporaryDirectory() as folder:  # so that the cache stays as it is
            config_file = huggingface_hub.hf_hub_download(
                source, "config.json", revision=config.revision, local_dir=folder
            )
            architecture = _architecture(Path(config_file).parent, where)
    except Exception as error:
        raise explained(error, source, where) from error
    files = needed(sizes)
    weights = [name for name in files if name.endswith((".safetensors", ".bin"))]
    if not weights:
        raise UserError(f"{where}: no weights there (model.safetensors); give another model")
    total = sum(sizes[name] for name in weights)
    return Found(source, architecture, total, sum(sizes[name] for name in files))


def model_row(found: Found, config: ModelConfig) -> Row:
    """What was found, for reading."""
    if config.path == EMBEDDED:
        return Row("model", True, f"embedded, {size(found.bytes)}")
    if Path(found.source).is_dir():
        return Row("model", True, f"{found.source}, {size(found.bytes)}")
    if not found.download:
        return Row("model", True, f"{found.source}, {size(found.bytes)} in the cache")
    return Row("model", True, f"{found.source}, reachable; {size(found.download)} to download")


def fetch_model(config: ModelConfig) -> Row:
    """Download all that loading the model reads; what is there already is not fetched again.

    Raises UserError where it cannot be had.
    """
    source, where = model_folder(config.path), f"model.path={config.path}"
    if Path(source).is_dir():
        return model_row(find_model(config, True), config)
    folder = model_folder_of(source, config.revision, where, newest=True)
    total = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return Row("model", True, f"{source}: {size(total)} in {folder}")


def tokenizer_of(config: ModelConfig) -> Any:
    """The tokenizer of a model that is in a folder or the cache.

    Raises UserError where it loses text.
    """
    source = model_folder(config.path)
    folder = Path(source) if Path(source).is_dir() else _cached_folder(source, config.revision)
    return load_tokenizer(folder, f"model.path={config.path}")


def _in_folder(source: str, folder: Path, where: str) -> Found:
    architecture = _architecture(folder, where)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    weights = [name for name in needed(sizes) if name.endswith((".safetensors", ".bin"))]
    if not weights:
        raise UserError(f"{where}: no weights there (model.safetensors); give another model")
    return Found(source, architecture, sum(sizes[name] for name in weights), 0)


def _architecture(folder: Path, where: str) -> Any:
    try:
        return read_architecture(folder, where)
    except UserError:
        raise
    except Exception as error:  # whatever the library stumbles on
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"{where}: its config.json cannot be read: {reason}") from error


def _cached_folder(source: str, revision: str | None) -> Path:
    path = huggingface_hub.try_to_load_from_cache(source, "config.json", revision=revision)
    if not isinstance(path, str):
        raise UserError(f"{source}: not in the cache ({constants.HF_HUB_CACHE}) after all")
    return Path(path).parent


def _on_hub(source: str, revision: str | None) -> Mapping[str, int]:
    """name -> bytes of the files at the root of a model's repository."""
    tree = huggingface_hub.HfApi().list_repo_tree(source, revision=revision)
    return {entry.path: getattr(entry, "size", 0) for entry in tree}
