"""Scores of neurons from plain numbers."""

import torch

from sparc.components.scores import Scores, held
from sparc.components.sites import Site


def scored(
    values: torch.Tensor, samples: int = 0, per_sample: torch.Tensor | None = None
) -> Scores:
    """`values` [layers, neurons] as scores."""
    sites = [Site(layer, "neurons", tuple(values.shape[1:])) for layer in range(len(values))]
    none = torch.zeros(0, dtype=torch.float64)
    return held("neurons", sites, values, samples, none if per_sample is None else per_sample)
