"""What an attribution costs, and how to make it cheaper in memory."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from sparc.batching import token_budget
from sparc.config import AttributionConfig
from sparc.methods import FORWARD_ONLY
from sparc.models import Model, is_offloaded

_log = logging.getLogger(__name__)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether `error` says that memory ran out, on an accelerator or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _recompute(function: Any, *inputs: Any) -> Any:
    if not torch.is_grad_enabled():
        return function(*inputs)
    # Re-entrant: the first pass runs without a graph and keeps nothing but the layer's input.
    # Nothing in the pass is random, so there is no state of random numbers to keep.
    return checkpoint(function, *inputs, use_reentrant=True, preserve_rng_state=False)


@contextlib.contextmanager
def gradient_checkpointing(model: Model) -> Iterator[None]:
    """Keep only each decoder layer's input, and compute the layer again in the backward pass.

    Layers do so in training mode only, so the layers themselves are put in it, but none of the
    modules inside them: dropout modules stay off. What a layer itself drops in training mode (OPT
    does so by a function and a number) is set to zero, and layer drop belongs to the decoder,
    which stays in evaluation mode. Everything is put back at the end.
    """
    with contextlib.ExitStack() as stack:
        for layer in model.network.get_submodule(model.family.layers):
            changes = {
                "gradient_checkpointing": True,
                "_gradient_checkpointing_func": _recompute,
                "training": True,
            }
            changes |= {
                name: 0.0
                for name, value in vars(layer).items()
                if "drop" in name and isinstance(value, float)
            }
            before = dict(vars(layer))
            stack.callback(_put_back, layer, changes, before)
            for name, value in changes.items():
                object.__setattr__(layer, name, value)
        yield


def _put_back(layer: Any, names: Any, before: dict[str, Any]) -> None:
    for name in names:
        if name in before:
            object.__setattr__(layer, name, before[name])
        else:
            object.__delattr__(layer, name)


@dataclass(frozen=True)
class Estimate:
    """What attributing some samples takes, by counting.

    bytes: memory of the largest batch above the model's own weights. flops: floating-point
    operations over all samples.
    """

    bytes: int
    flops: float
    tokens: int
    batches: int


def estimate(model: Model, lengths: Sequence[int], config: AttributionConfig) -> Estimate:
    """Memory and operations of attributing samples of `lengths` tokens.

    flops: 2 per parameter of the decoder layers and token in a forward pass, as much again for
    the backward pass (activations only; weights get no gradient) and for computing layers again,
    plus 4 * hidden per pair of tokens in attention. bytes: a graph holds about 14 vectors of the
    hidden size and 6 of the neurons per token and layer (in the model's dtype), attention as
    `eager` the scores of every head twice; checkpointing holds one such layer and each layer's
    input. Measured peaks lie within a factor of two.
    """
    network: Any = model.network.config
    layers, hidden, neurons = len(model.blocks), network.hidden_size, model.neurons_per_layer
    forward_only = config.name in FORWARD_ONLY
    again = config.gradient_checkpointing and not forward_only
    size = torch.finfo(model.network.dtype).bits // 8
    weights = sum(
        value.numel() for value in model.network.get_submodule(model.family.layers).parameters()
    )
    passes = 1 if forward_only else 3 if again else 2
    steps = config.steps if config.name == "integrated_gradients" else 1
    pairs = sum(4 * layers * hidden * length**2 for length in lengths)
    flops = float(passes * steps * (2 * weights * sum(lengths) + pairs))

    groups = token_budget(lengths, config.batch_tokens)
    shapes = [(len(group), lengths[group[0]]) for group in groups]
    eager = network._attn_implementation == "eager"
    held = 1 if forward_only or again else layers

    def batch_bytes(samples: int, length: int) -> int:
        scores = 2 * network.num_attention_heads * length if eager else 0
        layer = samples * length * (14 * hidden + 6 * neurons + scores)
        inputs = samples * length * hidden * layers if again else 0
        return int(size * (held * layer + inputs) + 12 * samples * length * neurons)

    return Estimate(
        bytes=max((batch_bytes(*shape) for shape in shapes), default=0),
        flops=flops,
        tokens=sum(lengths),
        batches=len(groups),
    )


def announce(model: Model, lengths: Sequence[int], config: AttributionConfig) -> None:
    """Say in the log, before anything runs, what attributing samples of `lengths` will take."""
    cost = estimate(model, lengths, config)
    _log.info(
        "attribution by %s: %d samples, %d tokens in %d batches, about %.3g TFLOP and %.2g GB "
        "of memory above the model's weights",
        config.name,
        len(lengths),
        cost.tokens,
        cost.batches,
        cost.flops / 1e12,
        cost.bytes / 1e9,
    )
    offloaded = any(is_offloaded(module) for module in model.network.modules())
    if offloaded and not config.gradient_checkpointing and config.name not in FORWARD_ONLY:
        _log.warning(
            "weights are offloaded, but the backward pass keeps those of all layers on the "
            "device: set attribution.gradient_checkpointing=true to hold one layer at a time"
        )
