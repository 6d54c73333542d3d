"""Gradient x input at the MLP neurons: one forward and one backward pass, no weight gradients.

For a linear layer z = W x + b and a target L, the relevance of row j (SparC3, Eq. 8, added over
the row) is  sum_i w_ji dL/dw_ji = sum_t (z_jt - b_j) dL/dz_jt : the neuron's own output times
the gradient there, tokens added. Under the rules of `lxt_rules` this is LRP relevance, without
them it is gradient x input. Column i of the down projection has sum_t h_it dL/dh_it likewise.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from sparc.attribution.target import Target
from sparc.batching import Batch
from sparc.errors import UserError
from sparc.models import Block, Model

REDUCTIONS = ("signed", "abs_sample", "abs_weight")
PROJECTIONS = ("up", "gate", "down", "hidden")


def _module(block: Block, projection: str) -> nn.Module:
    modules = {"up": block.up, "gate": block.gate, "down": block.down, "hidden": block.down}
    module = modules[projection]
    if module is None:
        raise UserError(
            f"attribution.projection={projection}: this model's MLP has no gate; "
            "use attribution.projection=up"
        )
    return module


def _signed(value: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """[samples, tokens, neurons] twice -> [samples, neurons], added in float32 or better."""
    wide = torch.promote_types(value.dtype, torch.float32)
    return (value.to(wide) * gradient.to(wide)).sum(1)


def _abs_weight(
    inputs: torch.Tensor, gradient: torch.Tensor, weight: torch.Tensor, axis: int
) -> torch.Tensor:
    """Sum of |w_ji G_ji| over each neuron's weights, with G = gradient^T inputs of one sample.

    inputs [samples, tokens, in], gradient [samples, tokens, out], weight [out, in]; `axis` is the
    one added over: 1 where rows are neurons, 0 where columns are. One sample's matrix at a time.
    """
    wide = torch.promote_types(weight.dtype, torch.float32)
    return torch.stack(
        [
            (g.to(wide).T @ x.to(wide)).mul_(weight).abs_().sum(axis)
            for x, g in zip(inputs, gradient, strict=True)
        ]
    )


def _reduce(
    model: Model, module: Any, projection: str, reduction: str, batch: Batch
) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
    """(input, output, gradient at the watched tensor) of one linear -> [samples, neurons]."""
    samples, tokens = batch.attention_mask.shape
    real = batch.attention_mask[..., None].bool()

    def shaped(value: torch.Tensor) -> torch.Tensor:
        # OPT runs its MLP on [samples * tokens, width]. Padded positions get no gradient; they
        # are zeroed all the same, because 0 * inf would be NaN.
        value = value.detach().reshape(samples, tokens, -1)
        return value.masked_fill(~real.to(value.device), 0)

    def reduce(x: torch.Tensor, z: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        if reduction == "abs_weight":
            weight = module.weight.T if model.family.transposed else module.weight
            axis = 0 if projection == "down" else 1
            return _abs_weight(shaped(x), shaped(gradient), weight, axis)
        if projection in ("down", "hidden"):
            value = x
        else:
            value = z if module.bias is None else z - module.bias
        relevance = _signed(shaped(value), shaped(gradient))
        return relevance.abs() if reduction == "abs_sample" else relevance

    return reduce


@contextlib.contextmanager
def _gradient_from_embeddings(model: Model) -> Iterator[None]:
    """Start the graph at the token embeddings: the weights stay frozen."""
    handle = model.network.get_input_embeddings().register_forward_hook(
        lambda _module, _inputs, output: output.requires_grad_()
    )
    try:
        yield
    finally:
        handle.remove()


def sample_relevance(
    model: Model, batch: Batch, target: Target, *, projection: str, reduction: str
) -> list[torch.Tensor]:
    """Relevance of each neuron for each sample of a batch.

    Returns one [samples, neurons] tensor a layer, on that layer's device, in the order of
    `batch.rows`. `target` maps last-position logits [samples, vocabulary] to [samples]; its sum
    is what the backward pass starts from, so samples do not influence each other.
    """
    results: list[Any] = [None] * len(model.blocks)

    def hook(layer: int, module: nn.Module) -> Callable[[nn.Module, Any, torch.Tensor], None]:
        reduce = _reduce(model, module, projection, reduction, batch)
        at_input = projection in ("down", "hidden") and reduction != "abs_weight"

        def forward(_module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            if not output.requires_grad:  # gradient checkpointing's first pass
                return

            def backward(gradient: torch.Tensor) -> None:
                results[layer] = reduce(inputs[0], output, gradient)

            (inputs[0] if at_input else output).register_hook(backward)

        return forward

    with contextlib.ExitStack() as stack, torch.enable_grad():
        stack.enter_context(_gradient_from_embeddings(model))
        for layer, block in enumerate(model.blocks):
            module = _module(block, projection)
            stack.callback(module.register_forward_hook(hook(layer, module)).remove)
        logits = model.network(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            use_cache=False,
            logits_to_keep=1,
        ).logits[:, -1]
        wide = torch.promote_types(logits.dtype, torch.float32)
        torch.autograd.backward(target(logits.to(wide)).sum())
    return results
