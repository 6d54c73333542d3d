"""Detoxify's checkpoint format, written from a folder that holds safetensors."""

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file


def detoxify_checkpoint(
    model_dir: Path, out_dir: Path, classes: Sequence[str] | None = None
) -> Path:
    """Write the BERT classifier of `model_dir` as a Detoxify checkpoint; return the file.

    `model_dir` holds ``config.json``, ``model.safetensors`` and the tokenizer; Detoxify reads
    config and tokenizer from there again, so the file is good only while the folder stands. The
    file's name holds a hash of folder, weights and classes: an existing one is returned as it is.
    `classes` are the outputs' names, by default those of the config. A whole file appears under
    its final name or none.
    """
    folder = model_dir.resolve()
    config = json.loads((folder / "config.json").read_text())
    if classes is None:
        labels = config.get("id2label", {"0": "toxicity"})
        classes = [labels[str(output)] for output in range(len(labels))]
    weights = folder / "model.safetensors"
    key = hashlib.sha256(weights.read_bytes() + f"{folder}\n{list(classes)}".encode())
    target = out_dir / f"{folder.name}-{key.hexdigest()[:16]}.ckpt"
    if target.is_file():
        return target
    out_dir.mkdir(parents=True, exist_ok=True)
    arguments = {
        "model_type": str(folder),
        "model_name": config["architectures"][0],
        "tokenizer_name": "BertTokenizer",
        "num_classes": len(classes),
    }
    checkpoint = {
        "config": {"arch": {"args": arguments}, "dataset": {"args": {"classes": list(classes)}}},
        "state_dict": load_file(weights),
    }
    handle, unfinished = tempfile.mkstemp(dir=out_dir, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            # By way of memory: on a full disk torch's own writer hides what went wrong.
            torch.save(checkpoint, written := io.BytesIO())
            file.write(written.getbuffer())
        os.replace(unfinished, target)
    except BaseException:
        os.unlink(unfinished)
        raise
    return target
