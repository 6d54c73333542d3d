"""The whole contrast of a run, kept beside the selection that was made from it."""

from pathlib import Path

import torch
from safetensors.torch import save

from sparc.components.scores import Scores
from sparc.storage.artifacts import whole


def write_contrast(path: Path, contrast: Scores) -> None:
    """Write `contrast` as float64 [layers, components of a layer], whole or not at all."""
    with whole(path) as temporary:
        # as bytes: safetensors' own writing of files lets nobody else read them
        temporary.write_bytes(
            save({"contrast": contrast.stacked().to("cpu", torch.float64).contiguous()})
        )
