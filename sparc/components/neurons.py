"""MLP neurons as components: a neuron is a row of up (and gate) and a column of down."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from sparc.components.selection import Selection, listed
from sparc.components.sites import Site, Sites, Undo
from sparc.models.model import Model, is_offloaded


def neurons(model: Model) -> Sites:
    """The MLP neurons of every layer.

    Zero are then up row and bias, gate row and bias, and down column. The down projection's bias
    is no neuron's and stays. Where weights are offloaded there is nothing in memory to change: the
    hidden neurons themselves are then set to zero, which computes the same.
    """
    return {
        Site(layer, "neurons", (model.neurons_per_layer,)): partial(_zero, model, layer)
        for layer in range(len(model.blocks))
    }


def chosen(model: Model, indices: Iterable[Sequence[int]]) -> Selection:
    """The neurons with these (layer, index), in this order; KeyError or IndexError for others."""
    return listed("neurons", neurons(model), indices)


def planted(model: Model) -> Selection | None:
    """The neurons that are known to carry the behaviour; None where they are not known."""
    return chosen(model, model.planted) if model.planted else None


def _zero(model: Model, layer: int, mask: torch.Tensor) -> Undo:
    block = model.blocks[layer]
    indices = mask.nonzero()[:, 0]
    if any(is_offloaded(m) for m in (block.up, block.gate, block.down) if m is not None):
        return block.down.register_forward_pre_hook(partial(_silence, indices)).remove
    stack = contextlib.ExitStack()
    for parameter, axis in _parameters(model, layer):
        stack.callback(_zero_slices(parameter, axis, indices.to(parameter.device)))
    return stack.close


def _silence(indices: torch.Tensor, _module: nn.Module, inputs: Any) -> Any:
    return (inputs[0].index_fill(-1, indices.to(inputs[0].device), 0), *inputs[1:])


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


@torch.no_grad()
def _zero_slices(parameter: torch.Tensor, axis: int, indices: torch.Tensor) -> Undo:
    values = parameter.index_select(axis, indices)
    parameter.index_fill_(axis, indices, 0)
    # not parameter.index_copy_(...) at once: undoing happens later, and also without gradients
    return torch.no_grad()(partial(parameter.index_copy_, axis, indices, values))  # type: ignore
