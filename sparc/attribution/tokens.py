"""Relevance of single tokens: where in a text the explained output comes from.

The same gradient x input as in `relevance`, before tokens are added up: (z - b) * dL/dz at every
token for chosen neurons, and embedding * dL/d(embedding) for the input tokens (under LRP's rules
the latter is conserved: it adds up to the explained output, but for biases).
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import torch
from torch import nn

from sparc.attribution.forward import last_logits
from sparc.attribution.lxt_rules import lrp_rules
from sparc.attribution.memory import batch_tokens, gradient_checkpointing
from sparc.attribution.relevance import watch_layers
from sparc.attribution.target import Target, target
from sparc.config import AttributionConfig
from sparc.models.batching import Batch, BatchTokens, in_batches, pad_left
from sparc.models.model import Model

Neurons = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class TokenRelevance:
    """Relevance of one text, token by token."""

    inputs: torch.Tensor
    """[tokens] of the input tokens."""
    removed: torch.Tensor
    """[tokens] of all chosen neurons together."""
    neurons: torch.Tensor
    """[tokens, shown] of each of the first chosen neurons."""
    hidden: torch.Tensor
    """[tokens, shown] their hidden activation."""
    next_token: int
    """The id with the largest logit after the text."""


@dataclass
class _Recording:
    """What one batch's passes leave on the input's device; the CPU reads it once, at the end."""

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
    room: BatchTokens | None = None,
) -> list[TokenRelevance]:
    """Token-level relevance of each of `texts` (token ids), in their order.

    `neurons` are added up, the first `shown` of them also kept apart. With `attribution=lrp`
    under its rules, else plain gradient x input; always signed, whatever the reduction. Layers are
    computed again and batches halved as in attribution; `room` is by default that of `config`.
    Raises UserError where even one text does not fit in memory.
    """
    found: dict[int, TokenRelevance] = {}
    explained = target(config.target)

    def relevance(rows: list[int]) -> list[TokenRelevance]:
        batch = pad_left(texts, model.pad_id, model.device, rows)
        return list(_batch_relevance(model, batch, neurons, shown, explained, config.projection))

    with contextlib.ExitStack() as stack:
        stack.enter_context(gradient_checkpointing(model, config.gradient_checkpointing))
        if config.name == "lrp":
            stack.enter_context(lrp_rules(model, config.rules))
        lengths = [len(text) for text in texts]
        for rows, each in in_batches(lengths, room or batch_tokens(config), relevance):
            found.update(zip(rows, each, strict=True))
    return [found[row] for row in range(len(texts))]


def _batch_relevance(
    model: Model, batch: Batch, neurons: Neurons, shown: int, explained: Target, projection: str
) -> Iterator[TokenRelevance]:
    shape = (*batch.input_ids.shape, shown)
    recording = _Recording(
        None,
        *(batch.input_ids.new_zeros(s, dtype=torch.float32) for s in (shape[:2], shape, shape)),
    )
    with contextlib.ExitStack() as stack, torch.enable_grad():
        _watch(stack, model, recording, neurons, shown, projection)
        logits = last_logits(model, batch)
        explained(logits).sum().backward()  # type: ignore[no-untyped-call]
    embedding: Any = recording.embedding
    inputs = (embedding.detach().float() * embedding.grad.float()).sum(-1).cpu()
    removed, kept, hidden = (
        each.cpu() for each in (recording.removed, recording.neurons, recording.hidden)
    )
    top = logits.detach().argmax(-1).tolist()
    for row, mask in enumerate(batch.attention_mask.bool().cpu()):
        yield TokenRelevance(
            inputs=inputs[row, mask],
            removed=removed[row, mask],
            neurons=kept[row, mask],
            hidden=hidden[row, mask],
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
    order = sorted(range(len(neurons)), key=lambda place: neurons[place][0])
    # one copy a device, for all layers: the CPU waits for each
    indices_on = cache(torch.tensor([neurons[place][1] for place in order]).to)
    layers: dict[int, _Layer] = {}
    first = 0
    for number, group in groupby(order, key=lambda place: neurons[place][0]):
        places = list(group)
        layers[number] = _Layer(recording, places, indices_on, first, shown)
        first += len(places)
        hidden = model.blocks[number].down
        stack.callback(hidden.register_forward_hook(layers[number].keep_hidden).remove)

    def keep(layer: int, value: torch.Tensor, gradient: torch.Tensor) -> None:
        if layer in layers:
            layers[layer].keep_relevance(value, gradient)

    watch_layers(stack, model, projection, keep)


@dataclass(frozen=True)
class _Layer:
    """The chosen neurons of one layer: their places in the choice and indices in the layer.

    The latter stand in `indices_on(device)` from `first` on.
    """

    recording: _Recording
    places: list[int]
    indices_on: Callable[[torch.device], torch.Tensor]
    first: int
    shown: int

    def _pick(self, value: torch.Tensor) -> torch.Tensor:
        indices = self.indices_on(value.device)[self.first : self.first + len(self.places)]
        picked = value.detach().index_select(-1, indices).float()
        # OPT runs its MLP on [samples * tokens, width]
        return picked.reshape(*self.recording.removed.shape, -1)

    def _keep(self, store: torch.Tensor, values: torch.Tensor) -> None:
        for column, place in enumerate(self.places):
            if place < self.shown:
                store[..., place] = values[..., column]

    def keep_hidden(self, _module: nn.Module, inputs: Any, _output: torch.Tensor) -> None:
        self._keep(self.recording.hidden, self._pick(inputs[0]).to(self.recording.hidden.device))

    def keep_relevance(self, value: torch.Tensor, gradient: torch.Tensor) -> None:
        relevance = self._pick(value) * self._pick(gradient)
        relevance = relevance.to(self.recording.removed.device)
        self.recording.removed += relevance.sum(-1)
        self._keep(self.recording.neurons, relevance)
