"""What is added up over samples: the unit that batches, shards and resumed runs share."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load, save

from sparc.storage.artifacts import whole
from sparc.storage.cache import Corrupt
from sparc.storage.digests import digest, tensors_digest

_FIELDS = ("totals", "per_sample", "done")


@dataclass(frozen=True)
class Sums:
    """A method's statistic added up over some of a reference set's samples."""

    totals: torch.Tensor
    """[layers, width] float64."""
    per_sample: torch.Tensor
    """[samples] float64, each sample's own total; NaN for one left out as it is not finite."""
    done: torch.Tensor
    """[samples] bool."""

    @property
    def counted(self) -> int:
        """Samples that are part of the totals."""
        return int((self.done & ~self.per_sample.isnan()).sum())


def merge(parts: Sequence[Sums]) -> Sums:
    """The sums over all samples of disjoint `parts` of one reference set."""
    per_sample = parts[0].per_sample.clone()
    for part in parts[1:]:
        per_sample = torch.where(part.done, part.per_sample, per_sample)
    return Sums(
        totals=torch.stack([part.totals for part in parts]).sum(0),
        per_sample=per_sample,
        done=torch.stack([part.done for part in parts]).any(0),
    )


def save_sums(sums: Sums, path: Path, key: Mapping[str, Any]) -> None:
    """Write `sums` as one safetensors file, whole or not at all, with its key and checksum."""
    tensors = {name: getattr(sums, name).contiguous() for name in _FIELDS}
    metadata = {"key": json.dumps(key), "sha256": tensors_digest(tensors)}
    with whole(path) as temporary, temporary.open("wb") as file:
        file.write(save(tensors, metadata))
        file.flush()
        os.fsync(file.fileno())


def load_sums(path: Path, key: Mapping[str, Any], layers: int, samples: int) -> Sums:
    """Read what `save_sums` wrote under this very key. Raises Corrupt where it cannot be trusted.

    layers, samples: the shape that the sums must have.
    """
    try:
        tensors = load(path.read_bytes())
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        if digest(json.loads(metadata["key"])) != digest(key):
            raise Corrupt(f"{path.name} belongs to another key")
        if metadata["sha256"] != tensors_digest(tensors):
            raise Corrupt(f"{path.name} does not match its checksum")
        sums = Sums(**{name: tensors[name] for name in _FIELDS})
    except Corrupt:
        raise
    except Exception as error:  # any failure to read means that it must be computed anew
        raise Corrupt(f"{path.name} is unreadable ({type(error).__name__})") from error
    if len(sums.totals) != layers or len(sums.done) != samples:
        raise Corrupt(f"{path.name} has {len(sums.totals)} layers and {len(sums.done)} samples")
    return sums
