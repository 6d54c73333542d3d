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
from transformers import AutoConfig, AutoModelForCausalLM

from sparc.config import MemoryConfig, ModelConfig
from sparc.errors import UserError
from sparc.models.batching import is_out_of_memory
from sparc.models.fingerprint import folder_fingerprint, weight_files
from sparc.models.folders import read_config
from sparc.models.tokenizing import FROM_FOLDER, load_tokenizer
from sparc.sources.hub import quiet
from sparc.sources.hub_models import is_cached, model_folder_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What a model is made of, as the library gives it."""

    network: Any
    tokenizer: Any
    fingerprint: str


def load_parts(config: ModelConfig, source: str, target: torch.device) -> Parts:
    """Configuration, weights and tokenizer from a folder or the hub, the weights on `target`.

    With `device_map` accelerate places the weights, instead. Safetensors are preferred; a
    repository without them is read as PyTorch's `.bin` with weights only. No code of a
    repository is run.

    Raises:
        UserError: For what cannot be fetched or loaded, and where the weights do not fit the
            configuration: missing ones would be random.
    """
    where = f"model.path={config.path}"
    # The library would ask a service to convert `.bin` files, and take what that serves.
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    try:
        with quiet():
            return _load(config, source, target, where)
    except UserError:
        raise
    # A folder that is none, or a broken one, makes the library raise whatever it stumbles on.
    except Exception as error:
        _log.info("loading failed", exc_info=True)
        raise UserError(f"{where}: cannot be loaded: {_reason(error)}") from error


def _load(config: ModelConfig, source: str, target: torch.device, where: str) -> Parts:
    folder = Path(source)
    remote = not folder.is_dir()
    if remote:
        folder = model_folder_of(source, config.revision, where, weights=False)
    architecture = read_architecture(folder, where)
    tokenizer = load_tokenizer(folder, where)
    fit_vocabulary(tokenizer, architecture.vocab_size, where)
    if remote and not is_cached(source, folder.name):  # not before it is known to be of use
        model_folder_of(source, folder.name, where)
    weight_files(folder, where)  # before the library reads what lies outside
    _refuse_too_large(empty(architecture, config), folder, where)
    placement: dict[str, Any] = {}
    if config.device_map:
        placement["device_map"] = config.device_map
        if config.max_memory != MemoryConfig():
            placement["max_memory"] = _memory(config.max_memory)
    both: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=getattr(torch, config.dtype),
        attn_implementation=config.attn_implementation,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # refused below, by name
        **placement,
        **FROM_FOLDER,
    )
    network, loaded = both
    for complaint in _unfit_weights(loaded, architecture.num_hidden_layers):
        raise UserError(f"{where}: {complaint}")
    if not config.device_map:
        network = network.to(target)
    network.eval().requires_grad_(False)
    _refuse_not_finite(network, f"{where}, model.dtype={config.dtype}")
    # a commit stands for every file
    fingerprint = f"{source}@{folder.name}" if remote else folder_fingerprint(folder, where)
    return Parts(network, tokenizer, fingerprint)


def read_architecture(folder: Path, where: str) -> Any:
    """The library's configuration of a model, after a look at what its config.json says.

    Raises UserError for a model that cannot work here.
    """
    read_config(folder, where)
    return AutoConfig.from_pretrained(folder, **FROM_FOLDER)


def empty(architecture: Any, config: ModelConfig) -> Any:
    """The network on torch's meta device: modules, shapes and dtype, and no numbers."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            architecture,
            dtype=getattr(torch, config.dtype),
            attn_implementation=config.attn_implementation,
        )


def _refuse_too_large(network: Any, folder: Path, where: str) -> None:
    """Raise UserError where a folder's weight files cannot hold so many parameters.

    Each takes two bytes and more there, so that one a byte is generous. What is missing would be
    made up in memory before anyone could see that it is.
    """
    files = [path for path in folder.rglob("*") if path.suffix in (".safetensors", ".bin")]
    stored = sum(path.stat().st_size for path in files)
    parameters = sum(value.numel() for value in network.parameters())
    if files and parameters > stored:
        raise UserError(
            f"{where}: config.json does not fit the weights: it describes {parameters} parameters, "
            f"and all weight files together have {stored} bytes"
        )


def fit_vocabulary(tokenizer: Any, rows: int, where: str) -> None:
    """Forget a padding token that has none of the `rows` of embeddings; any other serves as well.

    Raises UserError where other special tokens have none.
    """
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id >= rows:
        tokenizer.pad_token = None
    used = [*tokenizer("")["input_ids"], tokenizer.eos_token_id or 0]
    if max(used) >= rows:
        token = tokenizer.convert_ids_to_tokens(max(used))
        raise UserError(
            f"{where}: its tokenizer's special token {token!r} is number {max(used)}, and the "
            f"model has {rows} embeddings: name one of its vocabulary in its tokenizer_config.json"
        )


def _refuse_not_finite(network: Any, where: str) -> None:
    """Raise UserError that names the first weight with NaN or infinity, as float16 makes of large
    numbers; weights that accelerate keeps elsewhere are not looked at."""
    here = {k: v for k, v in network.named_parameters() if v.device.type != "meta"}
    for name, value in here.items():
        if not all(torch.isfinite(end) for end in torch.aminmax(value)):
            raise UserError(
                f"{where}: {name} holds numbers that are not finite: use model.dtype=bfloat16 or "
                "float32, or another copy of the weights"
            )


def _unfit_weights(loaded: Mapping[str, Any], layers: int) -> Iterable[str]:
    """Why the stored weights are not the model's that config.json describes.

    A weight of a further layer is one that this model lacks; other surplus weights, such as
    buffers of older versions, change nothing.
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


def _memory(most: MemoryConfig) -> dict[int | str, int | str]:
    """Each device's share by accelerate's names (GPUs by number): the limit, or what is free."""
    free: dict[int | str, int] = get_max_memory()
    limits = {name: most.gpu if isinstance(name, int) else most.cpu for name in free}
    return {name: limits[name] or size for name, size in free.items()}


def _reason(error: Exception) -> str:
    if is_out_of_memory(error):
        return (
            "it does not fit into memory: set model.dtype=bfloat16, or "
            "model.device_map=auto, which spreads it over all devices"
        )
    known = isinstance(error, OSError | ValueError | ImportError)
    return _first_line(error) if known else f"{type(error).__name__}: {_first_line(error)}"


def _first_line(message: object) -> str:
    lines = [line.strip() for line in str(message).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):
        return f"{lines[0]} {lines[1]}"
    return lines[0] if lines else type(message).__name__
