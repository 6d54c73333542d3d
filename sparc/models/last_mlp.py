"""The last layer's MLP, whose output at a token no other token reads."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from sparc.models.families import FAMILIES
from sparc.models.model import blocks_of


@contextlib.contextmanager
def last_mlp_from(network: Any, first: int) -> Iterator[None]:
    """Inside the block compute the last MLP for tokens from `first` on alone; zeros before.

    A negative `first` counts from the end. Logits from there on, and gradients of them, are those
    of the whole MLP. Where the MLP is no module of its own (OPT) nothing changes.
    """
    row = FAMILIES.get(network.config.get_text_config().model_type)
    if first == 0 or row is None or "." not in row.up:
        yield
        return
    length = 0

    def cut(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        nonlocal length
        length = inputs[0].shape[1]
        return (inputs[0][:, first:].contiguous(), *inputs[1:])

    def filled(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return nn.functional.pad(output, (0, 0, length - output.shape[1], 0))

    mlp = blocks_of(network, row)[-1].mlp
    hooks = mlp.register_forward_pre_hook(cut), mlp.register_forward_hook(filled)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
