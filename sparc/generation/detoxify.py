"""Detoxify's weights: its own variants and checkpoint files, read without running their code."""

import errno
import io
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants
from safetensors.torch import load_file

from sparc.errors import UserError
from sparc.sources.hub import unasked
from sparc.storage.cache import fetch
from sparc.storage.digests import file_digest


def detoxify_checkpoint(model_dir: Path, cache: Path) -> Path:
    """The BERT classifier of `model_dir` as a Detoxify checkpoint in the cache; its file.

    The file has been checked against its manifest, or was just written.

    Args:
        model_dir: Holds ``config.json``, whose labels name the outputs, ``model.safetensors`` and
            the tokenizer. Detoxify reads config and tokenizer from there again, so the file is
            good only while the folder stands, whose path is part of the key.
        cache: The cache's folder.
    """
    folder = model_dir.resolve()
    config = json.loads((folder / "config.json").read_text())
    labels = config.get("id2label", {"0": "toxicity"})
    classes = [labels[str(output)] for output in range(len(labels))]
    weights, name = folder / "model.safetensors", f"{folder.name}.ckpt"
    arguments = {
        "model_type": str(folder),
        "model_name": config["architectures"][0],
        "tokenizer_name": "BertTokenizer",
        "num_classes": len(classes),
    }

    def save(entry: Path) -> None:
        described = {"arch": {"args": arguments}, "dataset": {"args": {"classes": classes}}}
        # By way of memory: on a full disk torch's own writer hides what went wrong.
        torch.save({"config": described, "state_dict": load_file(weights)}, written := io.BytesIO())
        (entry / name).write_bytes(written.getbuffer())

    key = {"weights": file_digest(weights), "classes": classes, **arguments}
    return fetch(cache, "detoxify", key, load=lambda entry: entry / name, save=save)[0]


def detoxify_file(source: str | Path) -> Path:
    """The file that holds Detoxify's weights; that of a variant need not be there yet.

    Raises UserError for a source that is neither a variant nor a checkpoint.
    """
    # late: the import takes seconds that other scorers need not pay
    from detoxify.detoxify import MODEL_URLS

    if str(source) in MODEL_URLS:
        return Path(torch.hub.get_dir(), "checkpoints", Path(MODEL_URLS[str(source)]).name)
    folder = Path(source)
    files = [folder] if folder.is_file() else sorted(folder.glob("*.ckpt"))
    if len(files) != 1:
        raise UserError(
            f"Detoxify source '{source}' is no checkpoint file and no folder with exactly one "
            f"*.ckpt; give one or one of {sorted(MODEL_URLS)}"
        )
    return files[0]


def load_detoxify(source: str | Path, device: str) -> Any:
    """Detoxify of `source`, whose checkpoint is first read as weights only.

    Detoxify itself unpickles whatever is in the file, and so runs code that it holds; weights that
    the file lacks it leaves random. Raises UserError for such files, for damaged ones, and for
    weights that cannot be had.
    """
    from detoxify import Detoxify
    from detoxify.detoxify import MODEL_URLS

    weights, url = detoxify_file(source), MODEL_URLS.get(str(source))
    named = {"model_type": str(source)} if url else {"checkpoint": str(weights)}
    missing = UserError(
        f"weights of Detoxify '{source}' are not cached; run stage=prefetch where there is a "
        "network, or name a file: evaluation.detoxify.source=FILE"
    )
    if url and constants.HF_HUB_OFFLINE and not weights.is_file():
        raise missing
    try:
        stored = _plain(weights, url)["state_dict"].keys()
        detoxify = _from_cache_first(lambda: Detoxify(**named, device=device))
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        asked = re.search(r"\bGLOBAL ([\w.]+)", str(error))
        reason = f"it asks for {asked[1]}" if asked else type(error).__name__
        raise UserError(
            f"Detoxify '{source}': no checkpoint that holds weights and plain values only "
            f"({reason}), and loading anything else could run its code: give another file in "
            "evaluation.detoxify.source"
        ) from error
    except Exception as error:  # whatever a foreign or a damaged file brings about
        if not isinstance(error, OSError) or error.errno == errno.EINVAL:  # torch's, of half a file
            raise UserError(_damaged(source, type(error).__name__)) from error
        if url:  # no network: URLError for weights, OSError for the tokenizer
            raise missing from error
        raise
    for name, _ in detoxify.model.named_parameters():
        if name not in stored:
            raise UserError(_damaged(source, f"lacks {name}"))
    return detoxify


def _plain(weights: Path, url: str | None) -> Any:
    """What a checkpoint holds; a variant's download is held against the hash in its name."""
    if url is None:
        return torch.load(weights, map_location="cpu", weights_only=True)
    download = torch.hub.load_state_dict_from_url
    try:
        return download(url, map_location="cpu", weights_only=True, check_hash=True)
    except RuntimeError as error:
        if "invalid hash" not in str(error):
            raise
        raise UserError(f"{url}: what was downloaded is not that file: try again") from error


def _from_cache_first(load: Callable[[], Any]) -> Any:
    """`load()` without a question to the hub if it can: Detoxify asks about what is there, too."""
    try:
        with unasked():
            return load()
    except OSError:
        return load()


def _damaged(source: str | Path, why: str) -> str:
    file = detoxify_file(source)
    size = file.stat().st_size
    what = "is empty" if size == 0 else f"is damaged or no checkpoint of Detoxify ({why})"
    again = (
        "give another file in evaluation.detoxify.source"
        if file == Path(source) or Path(source).is_dir()
        else "remove it and run stage=prefetch where there is a network"
    )
    return f"Detoxify '{source}': {file} {what}; {again}"
