"""What a model's folder says of itself, read with suspicion: no torch, no library, no surprise.

A folder from somewhere else may hold anything: what cannot work here, and what would make the
library look elsewhere for code, weights or settings, is refused in one line before it is loaded.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sparc.errors import UserError
from sparc.models.families import family

_READ = (".json", ".txt", ".model", ".jinja", ".safetensors", ".bin")
_TEXT_BYTES = 2**28  # the largest tokenizers take 35 MB
_CONFIG_BYTES = 2**24
# More layers than any model has, and labels, of which the library makes a table.
_MOST = {"num_hidden_layers": 1024, "n_layer": 1024, "num_labels": 2**20}
_SIZES = (
    *("num_hidden_layers", "n_layer", "hidden_size", "n_embd", "intermediate_size", "ffn_dim"),
    *("n_inner", "num_attention_heads", "n_head", "num_key_value_heads", "head_dim", "vocab_size"),
    *("max_position_embeddings", "n_positions", "word_embed_proj_dim", "num_labels"),
)
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
# The first wins over `model.attn_implementation`; the names of others are asked for on the hub.
_ATTENTION = {
    "_attn_implementation": ("eager", "sdpa"),
    "attn_implementation": ("eager", "sdpa", "flash_attention_2", "flash_attention_3"),
}
_ELSEWHERE = ("configuration_files", "transformers_weights")


def read_config(folder: Path, where: str) -> dict[str, Any]:
    """The config.json of a folder whose model can be loaded here, as far as it and the files say.

    Args:
        folder: The model's.
        where: What to name in errors, such as "model.path=folder".

    Raises:
        UserError: For files that are none (pipes, broken links), adapters, a config.json that is
            no JSON object of sane sizes, and for models that are not supported: other
            architectures, quantised weights, experts, encoder-decoders, models of images or
            sound, code of their own.
    """
    for complaint in _strange_files(folder):
        raise UserError(f"{where}: {complaint}")
    stated = _object(folder / "config.json", where)
    for complaint in (*_unsuited(stated), *_nonsense(stated)):
        raise UserError(f"{where}: {complaint}")
    family(stated["model_type"], where)
    return stated


def planted_neurons(
    folder: Path, layers: int, neurons: int, where: str
) -> tuple[tuple[int, int], ...] | None:
    """(layer, neuron) of a planted behaviour, where planted_neurons.json names them; else None.

    Raises UserError where they are not different neurons of a model of this size.
    """
    file = folder / "planted_neurons.json"
    if not file.is_file():
        return None
    listed = _object(file, where).get("neurons")

    def fits(pair: Any) -> bool:
        if not isinstance(pair, list) or [type(number) for number in pair] != [int, int]:
            return False
        return pair[0] in range(layers) and pair[1] in range(neurons)

    if not isinstance(listed, list) or not all(map(fits, listed)):
        raise UserError(
            f'{where}: its planted_neurons.json must hold {{"neurons": [[layer, neuron], ...]}}'
            f" of {layers} layers of {neurons} neurons: mend or delete it"
        )
    planted = tuple((layer, neuron) for layer, neuron in listed)
    if len(set(planted)) < len(planted):
        raise UserError(f"{where}: its planted_neurons.json names a neuron twice")
    return planted


def _strange_files(folder: Path) -> Iterator[str]:
    for path in sorted(folder.iterdir()):
        if path.suffix not in _READ or path.is_dir():
            continue
        if not path.is_file():
            yield f"{path.name} is no file (a pipe, a device, or a link that leads nowhere)"
        elif path.suffix not in _READ[-2:] and path.stat().st_size > _TEXT_BYTES:
            yield f"{path.name} has {path.stat().st_size} bytes: too large to be what it says"
    if (folder / "adapter_config.json").is_file():
        yield (
            "holds an adapter (adapter_config.json), which is no model: merge it into its base "
            "model (merge_and_unload of peft) and give that folder"
        )


def _object(file: Path, where: str) -> dict[str, Any]:
    """The JSON object in `file`. Raises UserError for anything else, NaN and infinity included."""

    def number(text: str) -> float:
        value = float(text)
        if value - value != 0:
            raise ValueError(f"{text} is not finite")
        return value

    try:
        if file.stat().st_size > _CONFIG_BYTES:
            raise ValueError(f"larger than {_CONFIG_BYTES} bytes")
        text = file.read_text(encoding="utf-8")
        content = json.loads(text, parse_float=number, parse_constant=number)
    except FileNotFoundError:
        raise UserError(f"{where}: no {file.name} there; give a model's folder") from None
    except (OSError, ValueError, RecursionError) as error:
        reason = type(error).__name__ if isinstance(error, RecursionError) else error
        raise UserError(f"{where}: its {file.name} is not readable JSON: {reason}") from error
    if not isinstance(content, dict):
        raise UserError(f"{where}: its {file.name} must hold an object, not {_kind(content)}")
    return content


def _unsuited(stated: Mapping[str, Any]) -> Iterator[str]:
    """Why a model of this kind is none that the method applies to."""
    nested = [stated, *(value for value in stated.values() if isinstance(value, dict))]
    for key in ("quantization_config", "compression_config"):
        if stated.get(key) is not None:
            how = stated[key].get("quant_method") if isinstance(stated[key], dict) else None
            yield (
                f"its weights are quantised ({how or key}), and so can neither be explained nor "
                "removed exactly: give the model in bfloat16 or float32"
            )
    for key in _EXPERTS:
        if any(isinstance(each.get(key), int) and each[key] > 1 for each in nested):
            yield (
                f"a mixture of experts ({key}) has no MLP neurons that every token passes: give "
                "a dense model"
            )
    if stated.get("is_encoder_decoder"):
        yield "an encoder-decoder does not continue texts: give a causal language model"
    for key in ("vision_config", "audio_config"):
        if stated.get(key):
            yield f"a model of more than text ({key}): give its text model alone, in its own folder"
    if stated.get("auto_map"):
        yield (
            "its config.json names code of its own (auto_map), and no code of a repository is "
            "run: give a model of transformers' own classes"
        )


def _nonsense(stated: Mapping[str, Any]) -> Iterator[str]:
    """What no config.json of a model should hold."""
    if not isinstance(stated.get("model_type"), str):
        yield f"model_type in its config.json is {_kind(stated.get('model_type'))}, not a name"
    for key in _SIZES:
        size, most = stated.get(key), _MOST.get(key, 2**31)
        if size is not None and (type(size) is not int or not 0 < size <= most):
            yield f"{key} in its config.json must be a whole number from 1 to {most}"
    for key, known in _ATTENTION.items():
        if stated.get(key) is not None and stated[key] not in known:
            yield f"take {key} out of its config.json, and say model.attn_implementation instead"
    for key in _ELSEWHERE:
        if stated.get(key) is not None:
            yield f"take {key} out of its config.json: only config.json and model.safetensors count"


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value"}
    return "nothing" if value is None else names.get(type(value), "a number")
