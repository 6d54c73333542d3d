"""The one artifact of attribution: a score for every neuron over one reference set."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load, save_file

from sparc.storage.cache import Corrupt

_FILE = "scores.safetensors"


@dataclass(frozen=True)
class Scores:
    """Neuron scores of one reference set; nothing downstream knows which method made them.

    values: [layers, neurons] float64, for most methods the mean over samples (SparC3, Eq. 1).
    samples: how many reference samples were counted; 0 where the method needs none.
    per_sample: [reference samples] float64, the total of each sample's statistic; NaN for a
    sample that was left out because it is not finite.
    """

    values: torch.Tensor
    samples: int
    per_sample: torch.Tensor

    @property
    def left_out(self) -> tuple[int, ...]:
        """Positions of the samples that were left out."""
        return tuple(self.per_sample.isnan().nonzero()[:, 0].tolist())


def save_scores(scores: Scores, folder: Path) -> None:
    """Write `scores` into `folder` as safetensors."""
    save_file({"values": scores.values, "per_sample": scores.per_sample}, folder / _FILE)


def load_scores(folder: Path, shape: tuple[int, int]) -> Scores:
    """Read what `save_scores` wrote. Raises Corrupt where it does not have `shape`."""
    # Read, not mapped: a file truncated later must not change numbers already in use.
    tensors = load((folder / _FILE).read_bytes())
    values, per_sample = tensors["values"], tensors["per_sample"]
    if tuple(values.shape) != shape:
        raise Corrupt(f"scores of shape {tuple(values.shape)}, expected {shape}")
    return Scores(values, int((~per_sample.isnan()).sum()), per_sample)
