"""What methods read of a model: the explained output, tensors and weights of the MLP."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import nn

from sparc.config import TargetConfig
from sparc.errors import UserError
from sparc.models.batching import Batch
from sparc.models.model import Block, Model, parameter

Target = Callable[[torch.Tensor], torch.Tensor]
"""Last-position logits [samples, vocabulary] -> a scalar for each sample, which is explained."""


def projection_module(block: Block, projection: str) -> nn.Module:
    """The linear module of `projection` (`hidden` neurons are the down projection's input).

    Raises UserError for the gate of an MLP that has none.
    """
    module: nn.Module | None = getattr(block, "down" if projection == "hidden" else projection)
    if module is None:
        raise UserError(
            f"attribution.projection={projection}: this model's MLP has no gate; "
            "use attribution.projection=up"
        )
    return module


def last_logits(model: Model, batch: Batch) -> torch.Tensor:
    """Logits [samples, vocabulary] after the last real token, in float32 or better."""
    logits: torch.Tensor = model.network(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        use_cache=False,
        logits_to_keep=1,
    ).logits[:, -1]
    return logits.to(wide(logits))


def wide(value: torch.Tensor) -> torch.dtype:
    """The dtype to add `value` up in: its own, but float32 at least."""
    return torch.promote_types(value.dtype, torch.float32)


def by_sample(value: torch.Tensor, batch: Batch) -> torch.Tensor:
    """`value` as [samples, (last) tokens, width]: OPT runs its MLP on [samples * tokens, width]."""
    return value.detach().reshape(len(batch.rows), -1, value.shape[-1])


def without_padding(value: torch.Tensor, batch: Batch) -> torch.Tensor:
    """`value` [samples, tokens, width] with zeros at padded positions, whatever stood there."""
    padded = batch.attention_mask[:, -value.shape[1] :, None] == 0
    return value.masked_fill(padded.to(value.device), 0)


@torch.no_grad()
def projection_inputs(
    model: Model,
    batch: Batch,
    projection: str,
    statistic: Callable[[torch.Tensor], torch.Tensor],
) -> list[torch.Tensor]:
    """`statistic` of each layer's input to `projection`: [samples, tokens, width] -> [samples, _].

    Padded positions are zero. One forward pass, nothing of it is kept.
    """
    results: list[Any] = [None] * len(model.blocks)

    def keep(layer: int, _module: nn.Module, inputs: Any) -> None:
        value = by_sample(inputs[0], batch)
        results[layer] = statistic(without_padding(value.to(wide(value)), batch))

    with ExitStack() as stack:
        for layer, block in enumerate(model.blocks):
            module = projection_module(block, projection)
            stack.callback(module.register_forward_pre_hook(partial(keep, layer)).remove)
        last_logits(model, batch)
    return results


def weighted_sum(model: Model, projection: str, norms: torch.Tensor | None) -> torch.Tensor:
    """Sum over each neuron's weights of |W_ij| * norms_j, [layers, neurons] float64 on the CPU.

    `norms` [layers, inputs] are of the projection's inputs, None for all ones. A neuron is a row
    of `up` or `gate` and a column of `down`. One layer's matrix is copied at a time.
    """
    rows = []
    for layer, block in enumerate(model.blocks):
        weight = parameter(projection_module(block, projection), "weight").detach().float().abs()
        weight = weight.T if model.family.transposed else weight
        if norms is not None:
            # the CPU need not wait for what it hands over
            weight = weight * norms[layer].to(weight.dtype).to(weight.device, non_blocking=True)
        rows.append(weight.sum(0 if projection == "down" else 1))
    return torch.stack([row.to(rows[0].device) for row in rows]).cpu().double()


def target(config: TargetConfig) -> Target:
    """The function from last-position logits [samples, vocabulary] to targets [samples].

    Targets are never averaged over samples: relevance adds up over samples. The largest logit is
    the first of them where several are equal, as logits in bfloat16 often are; `logprob` is the
    log-probability of any of `token_ids`.
    """
    ids = list(config.token_ids)
    functions: dict[str, Target] = {
        "argmax": lambda logits: logits.gather(-1, logits.argmax(-1, keepdim=True))[:, 0],
        "tokens": lambda logits: logits[:, ids].sum(-1),
        "difference": lambda logits: logits[:, ids[0]] - logits[:, ids[1]],
        "logprob": lambda logits: logits.log_softmax(-1)[:, ids].logsumexp(-1),
    }
    return functions[config.kind]


def fixed_target(config: TargetConfig, logits: torch.Tensor) -> Target:
    """As `target`, but `argmax` explains the token that wins in `logits` from then on."""
    if config.kind != "argmax":
        return target(config)
    winners = logits.argmax(-1, keepdim=True)
    return lambda current: current.gather(-1, winners)[:, 0]
