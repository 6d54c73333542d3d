"""The model: whether it can be had, how large it is, and fetching it into the hub's cache."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub

from sparc.config import ModelConfig
from sparc.config.locations import EMBEDDED, model_folder
from sparc.errors import UserError
from sparc.models.loading import Parts, empty, read_architecture
from sparc.models.model import Model, assembled
from sparc.models.tokenizing import load_tokenizer
from sparc.preflight.findings import Row, size
from sparc.sources.hub import explained
from sparc.sources.hub_models import WEIGHTS, cached_folder, is_cached, model_folder_of, needed


@dataclass(frozen=True)
class Found:
    """A model that can be had."""

    source: str
    architecture: Any
    """transformers' configuration."""
    bytes: int
    """Of its weight files."""
    download: int
    """What is still to be downloaded, in bytes."""

    def skeleton(self, config: ModelConfig) -> Model:
        """The model with the right modules, shapes and dtype, without weights or tokenizer."""
        return assembled(
            config.name, self.source, Parts(empty(self.architecture, config), None, "")
        )


def find_model(config: ModelConfig, local: bool) -> Found:
    """Where the model is and how large it is; downloads no weights and keeps nothing.

    Args:
        config: Names the model.
        local: Whether it is read from a folder or the cache, and not from the hub.

    Raises:
        UserError: Where it can be had neither from a folder or the cache nor from the hub.
    """
    source, where = model_folder(config.path), f"model.path={config.path}"
    if local or Path(source).is_dir() or is_cached(source, config.revision):
        folder = _folder(source, config.revision)
        sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
        architecture, download = _architecture(folder, where), 0
        weights = _weights(sizes, where)
    else:
        try:
            tree = huggingface_hub.HfApi().list_repo_tree(source, revision=config.revision)
            sizes = {entry.path: getattr(entry, "size", 0) for entry in tree}
            with tempfile.TemporaryDirectory() as temporary:  # so that the cache stays as it is
                huggingface_hub.hf_hub_download(
                    source, "config.json", revision=config.revision, local_dir=temporary
                )
                architecture = _architecture(Path(temporary), where)
        except Exception as error:
            raise explained(error, source, where) from error
        weights = _weights(sizes, where)
        download = sum(sizes[name] for name in needed(sizes))
    return Found(source, architecture, weights, download)


def model_row(found: Found, config: ModelConfig) -> Row:
    """What was found, for reading."""
    if config.path == EMBEDDED:
        told = f"embedded, {size(found.bytes)}"
    elif Path(found.source).is_dir():
        told = f"{found.source}, {size(found.bytes)}"
    elif not found.download:
        told = f"{found.source}, {size(found.bytes)} in the cache"
    else:
        told = f"{found.source}, reachable; {size(found.download)} to download"
    return Row("model", True, told)


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
    folder = _folder(model_folder(config.path), config.revision)
    return load_tokenizer(folder, f"model.path={config.path}")


def _folder(source: str, revision: str | None) -> Path:
    folder = Path(source)
    return folder if folder.is_dir() else cached_folder(source, revision, source)


def _weights(sizes: Mapping[str, int], where: str) -> int:
    """Bytes of the weight files among a model's files."""
    weights = [name for name in needed(sizes) if name.endswith(WEIGHTS)]
    if not weights:
        raise UserError(f"{where}: no weights there (model.safetensors); give another model")
    return sum(sizes[name] for name in weights)


def _architecture(folder: Path, where: str) -> Any:
    try:
        return read_architecture(folder, where)
    except UserError:
        raise
    except Exception as error:  # whatever the library stumbles on
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"{where}: its config.json cannot be read: {reason}") from error
