"""Removing MLP neurons from a model in memory, and putting them back bit for bit."""

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from sparc.models import Model
from sparc.pruning.selection import Neuron


def _parameters(model: Model, layer: int) -> Iterator[tuple[torch.Tensor, int]]:
    """(parameter, axis along which neurons lie) of one layer's MLP."""
    block = model.blocks[layer]
    out_axis, in_axis = (1, 0) if model.family.transposed else (0, 1)
    for module in (block.up, block.gate):
        if module is not None:
            linear: Any = module
            yield linear.weight, out_axis
            if linear.bias is not None:
                yield linear.bias, 0
    down: Any = block.down
    yield down.weight, in_axis


@contextlib.contextmanager
def removed(model: Model, neurons: Sequence[Neuron]) -> Iterator[None]:
    """Zero `neurons` inside the block: up row and bias, gate row and bias, down column.

    The down projection's bias is no neuron's and stays. On leaving, also by an exception, every
    touched number is restored exactly.
    """
    by_layer: dict[int, list[int]] = defaultdict(list)
    for layer, index in neurons:
        by_layer[layer].append(index)
    saved: list[tuple[torch.Tensor, int, torch.Tensor, torch.Tensor]] = []
    try:
        with torch.no_grad():
            for layer, indices in by_layer.items():
                for parameter, axis in _parameters(model, layer):
                    where = torch.tensor(indices, device=parameter.device)
                    saved.append((parameter, axis, where, parameter.index_select(axis, where)))
                    parameter.index_fill_(axis, where, 0)
        yield
    finally:
        with torch.no_grad():
            for parameter, axis, where, values in reversed(saved):
                parameter.index_copy_(axis, where, values)
