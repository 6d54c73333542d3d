"""Gradient x input at the MLP neurons: one forward and one backward pass, no weight gradients.

For a linear layer z = W x + b and a target L, the relevance of row j (SparC3, Eq. 8, added over
the row) is  sum_i w_ji dL/dw_ji = sum_t (z_jt - b_j) dL/dz_jt : the neuron's own output times
the gradient there, tokens added. Under the rules of `lxt_rules` this is LRP relevance, without
them it is gradient x input. Column i of the down projection has sum_t h_it dL/dh_it likewise.
"""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from sparc.attribution.binding import bind, current
from sparc.attribution.forward import (
    by_sample,
    last_logits,
    projection_module,
    wide,
    without_padding,
)
from sparc.attribution.target import Target
from sparc.models.batching import Batch
from sparc.models.last_mlp import last_mlp_from
from sparc.models.model import Model

PROJECTIONS = ("up", "gate", "down", "hidden")
_PART = 2**20  # weights: 4 MB in float32


def _signed(value: torch.Tensor, gradient: torch.Tensor, batch: Batch) -> torch.Tensor:
    """[samples, tokens, neurons] twice -> [samples, neurons], added in float32 or better."""
    product = value.to(wide(value)) * gradient.to(wide(gradient))
    return without_padding(product, batch).sum(1)


def _abs_weight(
    inputs: torch.Tensor, gradient: torch.Tensor, weight: torch.Tensor, axis: int
) -> torch.Tensor:
    """Sum of |w_ji G_ji| over each neuron's weights, with G = gradient^T inputs of one sample.

    inputs [samples, tokens, in], gradient [samples, tokens, out], weight [out, in]; `axis` is the
    one added over: 1 where rows are neurons, 0 where columns are. One part of one sample's matrix
    is held at a time.
    """
    neurons = weight.shape[1 - axis]
    # A part that stays in the CPU's cache takes a third of the time of a short sample's whole
    # matrix; an accelerator wants few large products.
    part = max(1, _PART // weight.shape[axis]) if weight.device.type == "cpu" else neurons
    out = weight.new_empty(min(part, neurons) * weight.shape[axis], dtype=wide(weight))
    weights = torch.split(weight, part, 1 - axis)
    rows = []
    for x, g in zip(inputs, gradient, strict=True):
        lefts = torch.split(g, part, 1) if axis == 1 else [g] * len(weights)
        rights = torch.split(x, part, 1) if axis == 0 else [x] * len(weights)
        sums = [
            _product(left, right, out).mul_(w).abs_().sum(axis)
            for left, right, w in zip(lefts, rights, weights, strict=True)
        ]
        rows.append(torch.cat(sums))
    return torch.stack(rows)


def _product(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """left^T right [rows, columns] in the dtype of `out`, at its beginning where that serves."""
    half = left.dtype == right.dtype and left.dtype in (torch.float16, torch.bfloat16)
    if half and left.is_cuda and hasattr(torch.ops.aten.mm, "dtype"):
        # Tensor cores add products of halves up in float32 anyway: widening before would give
        # the same sums at a fraction of the speed.
        return torch.mm(left.T, right, out_dtype=out.dtype)
    shape = left.shape[1], right.shape[1]
    place = out[: shape[0] * shape[1]].view(shape)
    return torch.mm(left.to(out.dtype).T, right.to(out.dtype), out=place)


def _on_gradient(tensor: Any, function: Callable[[torch.Tensor], None]) -> None:
    if torch.is_grad_enabled():  # not in gradient checkpointing's first pass
        if not tensor.requires_grad:
            tensor.requires_grad_()  # weights are frozen: the graph begins at the first layer's
        tensor.register_hook(function)


Watch = Callable[[torch.Tensor, torch.Tensor], None]
"""(value [.., neurons], gradient there) of one layer."""


def _at_output(original: Callable[..., Any], scale: float, watch: Watch) -> Callable[..., Any]:
    """The forward of a linear layer whose rows are watched, and scaled by `scale`."""

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = original(x)
        # Only a detached tensor may be kept: a hook that holds its own tensor is a cycle, and the
        # whole graph would live until the garbage collector comes by.
        value, bias = output.detach(), self.bias
        if scale != 1:
            output = output * scale if bias is None else torch.lerp(bias, output, scale)
        _on_gradient(output, lambda g: watch(value if bias is None else value - bias, g))
        return output

    return forward


def _at_input(original: Callable[..., Any], scale: float, watch: Watch) -> Callable[..., Any]:
    """The forward of a linear layer whose inputs are watched, and scaled by `scale`."""

    def forward(_self: Any, x: torch.Tensor) -> torch.Tensor:
        value = x.detach()
        if scale != 1:
            x = x * scale
        _on_gradient(x, lambda gradient: watch(value, gradient))
        output: torch.Tensor = original(x)
        return output

    return forward


def _with_weights(
    original: Callable[..., Any],
    transposed: bool,
    axis: int,
    batch: Batch,
    keep: Callable[[torch.Tensor], None],
) -> Callable[..., Any]:
    """The forward of a linear layer whose weights are watched one by one."""

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = original(x)
        value = x.detach()
        weight = self.weight.T if transposed else self.weight

        def watch(gradient: torch.Tensor) -> None:
            # 0 * inf would be NaN, so both factors are zero at padded positions
            inputs, gradients = (
                without_padding(by_sample(each, batch), batch) for each in (value, gradient)
            )
            keep(_abs_weight(inputs, gradients, weight, axis))

        _on_gradient(output, watch)
        return output

    return forward


def watch_layers(
    stack: contextlib.ExitStack,
    model: Model,
    projection: str,
    watch: Callable[[int, torch.Tensor, torch.Tensor], None],
    *,
    scale: float = 1.0,
) -> None:
    """Until `stack` closes, hand gradient x input's factors to `watch(layer, value, gradient)`.

    Both are of the projection's neurons, before anything is added up; the value without its bias.

    Args:
        scale: multiplies the projection's weights in all layers at once while values stay those
            of the unscaled weights (a point on the path of integrated gradients).
    """
    watched = _at_input if projection in ("down", "hidden") else _at_output
    for layer, block in enumerate(model.blocks):
        module = projection_module(block, projection)
        forward = watched(current(module, "forward"), scale, partial(watch, layer))
        bind(stack, module, "forward", forward)


def _watch_weights(
    stack: contextlib.ExitStack,
    model: Model,
    projection: str,
    batch: Batch,
    keep: Callable[[int, torch.Tensor], None],
) -> None:
    axis = 0 if projection in ("down", "hidden") else 1
    for layer, block in enumerate(model.blocks):
        module = projection_module(block, projection)
        original, transposed = current(module, "forward"), model.family.transposed
        forward = _with_weights(original, transposed, axis, batch, partial(keep, layer))
        bind(stack, module, "forward", forward)


def sample_relevance(
    model: Model,
    batch: Batch,
    target: Target,
    *,
    projection: str,
    reduction: str,
    scale: float = 1.0,
) -> list[torch.Tensor]:
    """Relevance of each neuron for each sample of a batch.

    Args:
        target: maps last-position logits [samples, vocabulary] to [samples]; its sum is what the
            backward pass starts from, so samples do not influence each other.
        scale: see `watch_layers`.

    Returns:
        One [samples, neurons] tensor a layer, on that layer's device, in the order of
        `batch.rows`.
    """
    results: list[Any] = [None] * len(model.blocks)

    def keep(layer: int, relevance: torch.Tensor) -> None:
        results[layer] = relevance

    def keep_product(layer: int, value: torch.Tensor, gradient: torch.Tensor) -> None:
        relevance = _signed(by_sample(value, batch), by_sample(gradient, batch), batch)
        keep(layer, relevance.abs() if reduction == "abs_sample" else relevance)

    with contextlib.ExitStack() as stack, torch.enable_grad():
        stack.enter_context(last_mlp_from(model.network, -1))
        if reduction == "abs_weight":
            _watch_weights(stack, model, projection, batch, keep)
        else:
            watch_layers(stack, model, projection, keep_product, scale=scale)
        torch.autograd.backward(target(last_logits(model, batch)).sum())
    return results
