"""What identifies a model: all that changes what it computes, and nothing else.

A folder is known by its files, a repository of the hub by its commit, a model that is already in
memory by its tensors.
"""

import hashlib
import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from sparc.errors import UserError
from sparc.storage.digests import digest, file_digest

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # as the library prefers them
_SETTINGS = (  # what it reads besides weights: configuration, tokenizer, generation
    *("config*.json", "generation_config.json", "tokenizer*", "special_tokens_map.json"),
    *("added_tokens.json", "vocab*", "merges*", "tekken.json", "*.model", "*.tiktoken"),
    *("chat_template*", "additional_chat_templates/*"),
)
_VERSION = "sha256:v2:"
_OLDER = re.compile("sha256:[0-9a-f]{64}")
_NOT_CONTENT = ("_name_or_path", "transformers_version")


def folder_fingerprint(folder: Path, where: str) -> str:
    """A hash of the files that the model in `folder` is loaded from.

    Its own `weight_files`, configuration, tokenizer and generation settings. Raises UserError,
    which names `where`, as `weight_files` does.
    """
    settings = [path for pattern in _SETTINGS for path in folder.glob(pattern) if path.is_file()]
    names = {path.relative_to(folder).as_posix() for path in settings}
    files = sorted(names.union(weight_files(folder, where)))
    return _VERSION + digest({name: file_digest(folder / name) for name in files})


def weight_files(folder: Path, where: str) -> list[str]:
    """Names of the weight files that the library loads from `folder`: one, or those of an index.

    Raises UserError for an index that cannot be read or names a file outside the folder. Links
    are followed: what a foreign file says must not point out of the folder, but where its owner
    put the bytes, as the hub's own cache and shared disks do, is no matter, as these bytes are
    what is hashed and loaded.
    """
    both = [each for name in _WEIGHTS for each in (name, f"{name}.index.json")]
    names = [each for each in both if (folder / each).is_file()]
    if not names or not names[0].endswith(".index.json"):
        return names[:1]  # without any the library says so
    try:
        named = json.loads((folder / names[0]).read_text(encoding="utf-8"))["weight_map"].values()
        parts = sorted({str(each) for each in named})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{where}: {names[0]} is no index of weight files ({type(error).__name__})"
        ) from error
    for part in parts:
        path = PurePosixPath(part)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in part:
            raise UserError(f"{where}: {names[0]} names {part!r}, which lies outside the folder")
    return parts


def is_older(saved: str, other: str = _VERSION) -> bool:
    """Whether `saved` knows a folder by config.json and weights only, and `other` by all files."""
    return _OLDER.fullmatch(saved) is not None and other.startswith(_VERSION)


def is_model(saved: str, fingerprint: str, source: str) -> bool:
    """Whether a run that saved the fingerprint `saved` had this model, which lies at `source`.

    One of the older kind is held against what that kind is today.
    """
    if saved == fingerprint or not is_older(saved) or not Path(source).is_dir():
        return saved == fingerprint
    folder = Path(source)
    weights = [*folder.glob("*.safetensors")] or [*folder.glob("pytorch_model*.bin")]
    files = sorted([*weights, folder / "config.json"])
    return saved == "sha256:" + digest({path.name: file_digest(path) for path in files})


def memory_fingerprint(network: Any, tokenizer: Any) -> str:
    """A hash of a network in memory and its tokenizer: class, settings, and every tensor's bytes.

    The same on every device. Hooks and exchanged forward functions are not seen. Raises UserError
    for weights that are not in memory.
    """
    found = hashlib.sha256()
    around = (network.config, getattr(network, "generation_config", None))
    settings = [None if each is None else _plain(each) for each in around]
    kind = type(network).__qualname__
    found.update(digest([kind, *settings, _tokenizer_facts(tokenizer)]).encode())
    tensors = dict(network.named_parameters(remove_duplicate=False))
    tensors |= dict(network.named_buffers(remove_duplicate=False))
    for name, tensor in sorted(tensors.items()):
        if tensor.device.type == "meta":
            raise UserError(f"weight {name} is not in memory: load the model without offloading")
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return "memory:" + found.hexdigest()


def tokenizer_digest(tokenizer: Any) -> str:
    """What identifies a tokenizer: a hash of all that it does, of how it was last used nothing."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return digest([type(tokenizer).__name__, tokenizer.get_vocab(), str(tokenizer)])
    state = json.loads(backend.to_str())
    return digest({key: state[key] for key in state if key not in ("padding", "truncation")})


def _tokenizer_facts(tokenizer: Any) -> list[Any]:
    """What a tokenizer does, with what lies outside its own file: end and limit of a text."""
    around = ("model_max_length", "truncation_side", "clean_up_tokenization_spaces")
    return [
        tokenizer_digest(tokenizer),
        {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        [str(getattr(tokenizer, name, None)) for name in around],
    ]


def _plain(config: Any) -> dict[str, Any]:
    values = json.loads(config.to_json_string(use_diff=False))
    return {key: value for key, value in values.items() if key not in _NOT_CONTENT}
