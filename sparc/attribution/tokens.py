"""Relevance of single tokens: where in a text the explained output comes from.

The same gradient x input as in `relevance`, before tokens are added up: (z - b) * dL/dz at every
token for chosen neurons, and embedding * dL/d(embedding) for the input tokens (under LRP's rules
the latter is conserved: it adds up to the explained output, but for biases).
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sparc.attribution.lxt_rules import lrp_rules
from sparc.attribution.target import Target, target
from sparc.batching import Batch, batches
from sparc.config import AttributionConfig
from sparc.models.model import Block, Model, parameter

Neurons = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class TokenRelevance:
    """Relevance of one text, token by token.

    inputs: [tokens] of the input tokens. removed: [tokens] of all chosen neurons together.
    neurons, hidden: [tokens, shown] relevance and hidden activation of the first chosen neurons.
    next_token: the id with the largest logit after the text.
    """

    inputs: torch.Tensor
    removed: torch.Tensor
    neurons: torch.Tensor
    hidden: torch.Tensor
    next_token: int


@dataclass
class _Recording:
    embedding: torch.Tensor | None
    removed: torch.Tensor
    neurons: torch.Tensor
    hidden: torch.Tensor


def token_relevance(
    model: Model,
    texts: Sequence[Sequence[int]],
    neurons: Neurons,
    shown: int,
    config: AttributionConfig,
) -> list[TokenRelevance]:
    """Token-level relevance of each of `texts` (token ids), in their order.

    `neurons` are added up, the first `shown` of them also kept apart. With `attribution=lrp`
    under its rules, else plain gradient x input; always signed, whatever the reduction.
    """
    rules = lrp_rules(model, config.rules) if config.name == "lrp" else contextlib.nullcontext()
    found: dict[int, TokenRelevance] = {}
    with rules:
        for batch in batches(
            texts, batch_tokens=config.batch_tokens, pad_id=model.pad_id, device=model.device
        ):
            explained = target(config.target)
            each = _batch_relevance(model, batch, neurons, shown, explained, config.projection)
            found.update(zip(batch.rows, each, strict=True))
    return [found[row] for row in range(len(texts))]


def _batch_relevance(
    model: Model, batch: Batch, neurons: Neurons, shown: int, explained: Target, projection: str
) -> Iterator[TokenRelevance]:
    shape = (*batch.input_ids.shape, shown)
    recording = _Recording(None, torch.zeros(shape[:2]), torch.zeros(shape), torch.zeros(shape))
    with contextlib.ExitStack() as stack, torch.enable_grad():
        _watch(stack, model, recording, neurons, shown, projection)
        logits = model.network(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            use_cache=False,
            logits_to_keep=1,
        ).logits[:, -1]
        explained(logits.float()).sum().backward()  # type: ignore[no-untyped-call]
    embedding: Any = recording.embedding
    inputs = (embedding.detach().float() * embedding.grad.float()).sum(-1).cpu()
    top = logits.detach().argmax(-1).tolist()
    for row, mask in enumerate(batch.attention_mask.bool().cpu()):
        yield TokenRelevance(
            inputs=inputs[row, mask],
            removed=recording.removed[row, mask],
            neurons=recording.neurons[row, mask],
            hidden=recording.hidden[row, mask],
            next_token=top[row],
        )


def _watch(
    stack: contextlib.ExitStack,
    model: Model,
    recording: _Recording,
    neurons: Neurons,
    shown: int,
    projection: str,
) -> None:
    def keep_embedding(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        output.requires_grad_().retain_grad()
        recording.embedding = output

    embeddings = model.network.get_input_embeddings()
    stack.callback(embeddings.register_forward_hook(keep_embedding).remove)
    for layer, block in enumerate(model.blocks):
        places = [place for place, (each, _) in enumerate(neurons) if each == layer]
        if places:
            indices = [neurons[place][1] for place in places]
            layer_of = _Layer(recording, places, indices, shown)
            module, relevance = _hook(block, projection, layer_of)
            stack.callback(module.register_forward_hook(relevance).remove)
            stack.callback(block.down.register_forward_hook(layer_of.keep_hidden).remove)


@dataclass(frozen=True)
class _Layer:
    """The chosen neurons of one layer: their places in the choice and indices in the layer."""

    recording: _Recording
    places: list[int]
    indices: list[int]
    shown: int

    def _pick(self, value: torch.Tensor) -> torch.Tensor:
        # OPT runs its MLP on [samples * tokens, width]
        picked = value.detach()[..., self.indices].float().cpu()
        return picked.reshape(*self.recording.removed.shape, len(self.indices))

    def keep_hidden(self, _module: nn.Module, inputs: Any, _output: torch.Tensor) -> None:
        for column, place in enumerate(self.places):
            if place < self.shown:
                self.recording.hidden[..., place] = self._pick(inputs[0])[..., column]

    def keep_relevance(self, value: torch.Tensor, gradient: torch.Tensor) -> None:
        relevance = self._pick(value) * self._pick(gradient)
        self.recording.removed += relevance.sum(-1)
        for column, place in enumerate(self.places):
            if place < self.shown:
                self.recording.neurons[..., place] = relevance[..., column]


def _hook(
    block: Block, projection: str, layer: _Layer
) -> tuple[nn.Module, Callable[[nn.Module, Any, torch.Tensor], None]]:
    at_input = projection in ("down", "hidden")
    module: Any = block.down if at_input else getattr(block, projection)

    def forward(_module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        watched = inputs[0] if at_input else output
        # Detached: a hook that holds its own tensor would keep the whole graph alive.
        value = watched.detach()
        if not at_input and module.bias is not None:
            value = value - parameter(module, "bias").to(value.device)
        if watched.requires_grad:
            watched.register_hook(lambda gradient: layer.keep_relevance(value, gradient))

    return module, forward
