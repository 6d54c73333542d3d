"""Absolute weights of the neurons, added up: what Wanda and magnitude pruning score with."""

from typing import Any

import torch

from sparc.attribution.forward import projection_module
from sparc.models.model import Model, parameter


def weighted_sum(model: Model, projection: str, norms: torch.Tensor | None) -> torch.Tensor:
    """Sum over each neuron's weights of |W_ij| * norms_j, [layers, neurons] float64 on the CPU.

    norms: [layers, inputs] of the projection's inputs, None for all ones. A neuron is a row of
    `up` or `gate` and a column of `down`. One layer's matrix is copied at a time.
    """
    rows = []
    for layer, block in enumerate(model.blocks):
        module: Any = projection_module(block, projection)
        weight = parameter(module, "weight").detach().float().abs()
        weight = weight.T if model.family.transposed else weight
        if norms is not None:
            # the CPU need not wait for what it hands over
            norm = norms[layer].to(weight.dtype).to(weight.device, non_blocking=True)
            weight = weight * norm
        rows.append(weight.sum(0 if projection == "down" else 1))
    return torch.stack([row.to(rows[0].device) for row in rows]).cpu().double()
