"""Setting parts of a weight, or of what a module reads, to zero, and undoing it bit for bit."""

from functools import partial
from typing import Any

import torch
from torch import nn

from sparc.components.sites import Undo


@torch.no_grad()
def zero_slices(parameter: torch.Tensor, axis: int, indices: torch.Tensor) -> Undo:
    """Set the slices `indices` along `axis` to zero."""
    indices = indices.to(parameter.device)
    values = parameter.index_select(axis, indices)
    parameter.index_fill_(axis, indices, 0)
    # undone later, and then without gradients as well
    return torch.no_grad()(partial(parameter.index_copy_, axis, indices, values))  # type: ignore


def silence_inputs(module: nn.Module, indices: torch.Tensor) -> Undo:
    """Let `module` read zeros at `indices` of its last axis, whatever its weights are."""

    def silence(_module: nn.Module, inputs: Any) -> Any:
        return (inputs[0].index_fill(-1, indices.to(inputs[0].device), 0), *inputs[1:])

    return module.register_forward_pre_hook(silence).remove
