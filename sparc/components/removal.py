"""Removing MLP neurons from a model in memory, and putting them back bit for bit."""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from sparc.components.selection import Neuron
from sparc.models.model import Model, is_offloaded


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


def _silence(indices: list[int]) -> Callable[[nn.Module, Any], Any]:
    def silence(_module: nn.Module, inputs: Any) -> Any:
        where = torch.tensor(indices, device=inputs[0].device)
        return (inputs[0].index_fill(-1, where, 0), *inputs[1:])

    return silence


@contextlib.contextmanager
def removed(model: Model, neurons: Sequence[Neuron]) -> Iterator[None]:
    """Zero `neurons` inside the block: up row and bias, gate row and bias, down column.

    The down projection's bias is no neuron's and stays. On leaving, also by an exception, every
    touched number is restored exactly. Where weights are offloaded there is nothing in memory to
    change: the hidden neurons themselves are then set to zero, which computes the same.
    """
    by_layer: dict[int, list[int]] = defaultdict(list)
    for layer, index in neurons:
        by_layer[layer].append(index)
    with contextlib.ExitStack() as stack:
        for layer, indices in by_layer.items():
            block = model.blocks[layer]
            if any(is_offloaded(m) for m in (block.up, block.gate, block.down) if m is not None):
                hook = block.down.register_forward_pre_hook(_silence(indices))
                stack.callback(hook.remove)
                continue
            for parameter, axis in _parameters(model, layer):
                stack.callback(_zero(parameter, axis, indices))
        yield


@torch.no_grad()
def _zero(parameter: torch.Tensor, axis: int, indices: list[int]) -> Callable[[], None]:
    """Set the slices `indices` along `axis` to zero; returns what puts them back."""
    where = torch.tensor(indices, device=parameter.device)
    values = parameter.index_select(axis, where)
    parameter.index_fill_(axis, where, 0)

    @torch.no_grad()
    def restore() -> None:
        parameter.index_copy_(axis, where, values)

    return restore
