"""Fetching a causal language model's configuration, weights and tokenizer, whole or not at all."""

import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import get_max_memory
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from sparc.config import MemoryConfig, ModelConfig
from sparc.errors import UserError
from sparc.hub import quiet
from sparc.hub_models import is_cached, model_folder_of
from sparc.models.families import Family, family
from sparc.storage.digests import digest, file_digest

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What a model is made of, as the library gives it."""

    network: Any
    tokenizer: Any
    family: Family
    fingerprint: str


def load_parts(config: ModelConfig, source: str, target: torch.device) -> Parts:
    """Configuration, weights and tokenizer from a folder or the hub, the weights on `target`.

    With `device_map` accelerate places the weights, instead. Safetensors are preferred; a
    repository without them is read as PyTorch's `.bin` with weights only. No code of a
    repository is run. Raises UserError for what cannot be fetched or loaded, and where the
    weights do not fit the configuration: missing ones would be random.
    """
    where = f"model.path={config.path}"
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    # The library would ask a service to convert `.bin` files, and take what that serves.
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    try:
        with quiet():
            if not Path(source).is_dir():  # a commit, so that all files are of the same one
                found = model_folder_of(source, config.revision, where, weights=False)
                options["revision"] = found.name
            return _load(config, source, target, options)
    except UserError:
        raise
    # A folder that is none, or a broken one, makes the library raise whatever it stumbles on.
    except Exception as error:
        _log.info("loading failed", exc_info=True)
        raise UserError(f"{where}: cannot be loaded: {_reason(error)}") from error


def _load(
    config: ModelConfig, source: str, target: torch.device, options: Mapping[str, Any]
) -> Parts:
    architecture = AutoConfig.from_pretrained(source, **options)
    row = family(architecture.model_type)
    tokenizer = AutoTokenizer.from_pretrained(source, **options)
    commit = options.get("revision")
    if commit and not is_cached(source, commit):  # not before it is known to be of use
        model_folder_of(source, commit, f"model.path={config.path}")
    placement: dict[str, Any] = {}
    if config.device_map:
        placement["device_map"] = config.device_map
        if config.max_memory != MemoryConfig():
            placement["max_memory"] = _memory(config.max_memory)
    both: Any = AutoModelForCausalLM.from_pretrained(
        source,
        dtype=getattr(torch, config.dtype),
        attn_implementation=config.attn_implementation,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # refused below, by name
        **placement,
        **options,
    )
    network, loaded = both
    for complaint in unfit_weights(loaded, architecture.num_hidden_layers):
        raise UserError(f"model.path={config.path}: {complaint}")
    if not config.device_map:
        network = network.to(target)
    network.eval().requires_grad_(False)
    return Parts(network, tokenizer, row, fingerprint(source, config.revision, architecture))


def unfit_weights(loaded: Mapping[str, Any], layers: int) -> Iterable[str]:
    """Why the stored weights are not the model's that config.json describes.

    loaded: the library's loading information. A weight of a further layer is one that this model
    lacks; other surplus weights, such as buffers of older versions, change nothing.
    """
    for name, stored, expected in sorted(loaded["mismatched_keys"]):
        shapes = f"{list(stored)} in the weight file, {list(expected)} by config.json"
        yield f"config.json does not fit the weights: {name} is {shapes}"
    missing = sorted(loaded["missing_keys"])
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        yield f"config.json does not fit the weights: {missing[0]}{more} not in the weight file"
    for name in sorted(loaded["unexpected_keys"]):
        number = re.search(r"\.(\d+)\.", name)
        if number and int(number[1]) >= layers:
            yield (
                f"config.json does not fit the weights: it states {layers} layers, and the "
                f"weight file has {name}"
            )
    for message in loaded["error_msgs"]:
        yield f"weights cannot be read: {_first_line(message)}"


def fingerprint(source: str, revision: str | None, config: Any) -> str:
    """What identifies the weights: a hash of a local folder's files, else hub id and commit."""
    folder = Path(source)
    if not folder.is_dir():
        return f"{source}@{getattr(config, '_commit_hash', None) or revision}"
    weights = [*folder.glob("*.safetensors")] or [*folder.glob("pytorch_model*.bin")]
    files = sorted([*weights, folder / "config.json"])
    return "sha256:" + digest({path.name: file_digest(path) for path in files})


def _memory(most: MemoryConfig) -> dict[int | str, int | str]:
    """Each device's share by accelerate's names (GPUs by number): the limit, or what is free."""
    free: dict[int | str, int] = get_max_memory()
    limits = {name: most.gpu if isinstance(name, int) else most.cpu for name in free}
    return {name: limits[name] or size for name, size in free.items()}


def _reason(error: Exception) -> str:
    if isinstance(error, torch.OutOfMemoryError):
        return (
            "it does not fit into the device's memory: set model.dtype=bfloat16, or "
            "model.device_map=auto, which spreads it over all devices"
        )
    known = isinstance(error, OSError | ValueError | ImportError)
    return _first_line(error) if known else f"{type(error).__name__}: {_first_line(error)}"


def _first_line(message: object) -> str:
    lines = [line.strip() for line in str(message).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):
        return f"{lines[0]} {lines[1]}"
    return lines[0] if lines else type(message).__name__
