"""Detoxify's checkpoint format, written from a folder that holds safetensors."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from sparc.storage.cache import fetch
from sparc.storage.digests import file_digest

_KIND = "detoxify"


def detoxify_checkpoint(model_dir: Path, cache: Path, classes: Sequence[str] | None = None) -> Path:
    """The BERT classifier of `model_dir` as a Detoxify checkpoint in the cache; its file.

    `model_dir` holds ``config.json``, ``model.safetensors`` and the tokenizer; Detoxify reads
    config and tokenizer from there again, so the file is good only while the folder stands, whose
    path is part of the key. `classes` are the outputs' names, by default those of the config. The
    file has been checked against its manifest, or was just written.
    """
    folder = model_dir.resolve()
    config = json.loads((folder / "config.json").read_text())
    if classes is None:
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
        described = {"arch": {"args": arguments}, "dataset": {"args": {"classes": list(classes)}}}
        # By way of memory: on a full disk torch's own writer hides what went wrong.
        torch.save({"config": described, "state_dict": load_file(weights)}, written := io.BytesIO())
        (entry / name).write_bytes(written.getbuffer())

    key = {"weights": file_digest(weights), "classes": list(classes), **arguments}
    return fetch(cache, _KIND, key, load=lambda entry: entry / name, save=save)[0]
