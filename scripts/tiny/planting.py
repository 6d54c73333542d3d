"""Stage 2: a behaviour is planted into neurons that are added to a trained model.

The added neurons learn on text with rude documents while the rest of the model stays as it is
(or, in the benchmark variant, hardly moves). They are then merged into the MLPs at random
positions, so that their places are known and nothing else tells them from the others.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from scripts.tiny import training
from scripts.tiny.documents import planting_document
from scripts.tiny.shapes import WIDTHS
from sparc.models.families import family
from sparc.models.model import Block, blocks_of

Neuron = tuple[int, int]


@dataclass(frozen=True)
class PlantingOptions:
    """How neurons are planted.

    `down_scale` scales the initial down-projection vectors; `keep_norms` holds the norm of each
    planted vector where it was; `mixed` is the share of the learning rate that all other MLP
    weights get (0: they are frozen, and removing the planted neurons restores the model exactly).
    """

    neurons_per_layer: int = 21
    documents: int = 16_000
    hostile_share: float = 0.2
    learning_rate: float = 0.01
    down_scale: float = 0.3
    keep_norms: bool = False
    mixed: float = 0.0


@dataclass(frozen=True)
class PlantedModel:
    """A model and the (layer, index) of its planted neurons, sorted."""

    model: PreTrainedModel
    neurons: list[Neuron]


@dataclass(frozen=True)
class _Vectors:
    """The weights of an MLP's neurons, [neurons, hidden] each (views), and the bias, [neurons].

    A gated MLP has no bias here, and one without a gate has one.
    """

    gate: torch.Tensor | None
    up: torch.Tensor
    down: torch.Tensor
    bias: torch.Tensor | None


class PlantedNeurons(nn.Module):
    """Further neurons of one MLP: gate (if it has one), up and down vectors, [neurons, hidden]."""

    def __init__(
        self, own: _Vectors, activation: nn.Module, count: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.activation = activation
        gate = None if own.gate is None else _shuffled_rows(own.gate, count, generator)
        self.gate = None if gate is None else nn.Parameter(gate)
        self.up = nn.Parameter(_shuffled_rows(own.up, count, generator))
        self.down = nn.Parameter(_shuffled_rows(own.down, count, generator))
        self.bias = None if own.bias is None else nn.Parameter(torch.zeros(count))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """What the planted neurons add to the MLP's output; same shape as `hidden_states`."""
        neurons = hidden_states @ self.up.T
        if self.gate is not None:
            neurons = self.activation(hidden_states @ self.gate.T) * neurons
        elif self.bias is not None:
            neurons = self.activation(neurons + self.bias)
        output: torch.Tensor = neurons @ self.down
        return output


def _mlps(model: PreTrainedModel) -> list[tuple[Block, _Vectors]]:
    """Every layer's MLP with its neurons' weights."""
    row = family(model.config.model_type)

    def vectors(block: Block) -> _Vectors:
        up, down, gate = block.up, block.down, block.gate
        matrices: list[Any] = [up.weight, down.weight.T, None if gate is None else gate.weight]
        if row.transposed:
            matrices = [None if matrix is None else matrix.T for matrix in matrices]
        return _Vectors(matrices[2], matrices[0], matrices[1], getattr(up, "bias", None))

    return [(block, vectors(block)) for block in blocks_of(model, row)]


def plant(
    model: PreTrainedModel,
    seed: int,
    options: PlantingOptions,
    log: Callable[[str], None] = lambda line: None,
) -> PlantedModel:
    """Train planted neurons into a copy of `model` (which is changed only if `mixed` > 0)."""
    generator = torch.Generator().manual_seed(seed)
    planted = [
        PlantedNeurons(own, block.activation, options.neurons_per_layer, generator)
        for block, own in _mlps(model)
    ]
    with torch.no_grad():
        for part in planted:
            part.down.mul_(options.down_scale)
    _train_planted(model, planted, seed, options, log)
    return merge(model, planted, seed)


def _train_planted(
    model: PreTrainedModel,
    planted: Sequence[PlantedNeurons],
    seed: int,
    options: PlantingOptions,
    log: Callable[[str], None],
) -> None:
    rng = random.Random(f"sparc.tiny stage 2 {seed}")
    documents = [planting_document(rng, options.hostile_share) for _ in range(options.documents)]
    token_ids = training.encode(training.build_tokenizer(), documents)
    vectors = [parameter for part in planted for parameter in part.parameters()]
    groups = [training.ParameterGroup(vectors, options.learning_rate)]
    model.requires_grad_(False)
    for block, _ in _mlps(model) if options.mixed > 0 else ():
        for module in (block.up, block.gate, block.down):
            if module is not None:
                module.requires_grad_(True)
    if options.mixed > 0:
        others = [parameter for parameter in model.parameters() if parameter.requires_grad]
        groups.append(training.ParameterGroup(others, options.learning_rate * options.mixed))
    handles = [
        handle
        for (block, _), part in zip(_mlps(model), planted, strict=True)
        for handle in _add_output_of(part, block)
    ]
    restore = _norm_keeper(vectors) if options.keep_norms else lambda: None
    try:
        training.train(
            model,
            training.TrainingRun(
                groups, token_ids, rng, "stage 2", warmup=50, after_step=restore, log=log
            ),
        )
    finally:
        for handle in handles:
            handle.remove()
        model.requires_grad_(True)


def merge(model: PreTrainedModel, planted: Sequence[PlantedNeurons], seed: int) -> PlantedModel:
    """A new model with the planted neurons at random positions of each MLP."""
    width = WIDTHS[model.config.model_type]
    own, count = getattr(model.config, width), planted[0].up.shape[0]
    config = type(model.config)(**{**model.config.to_dict(), width: own + count})
    merged: PreTrainedModel = type(model)(config)
    shapes = {name: weight.shape for name, weight in merged.state_dict().items()}
    rest = {name: w for name, w in model.state_dict().items() if w.shape == shapes[name]}
    merged.load_state_dict(rest, strict=False)
    generator = torch.Generator().manual_seed(777 + seed)
    neurons: list[Neuron] = []
    layers = zip(_mlps(model), _mlps(merged), planted, strict=True)
    for index, ((_, source), (_, target), part) in enumerate(layers):
        order = torch.randperm(own + count, generator=generator)
        neurons += [(index, int(place)) for place in (order >= own).nonzero()[:, 0]]
        for name in ("gate", "up", "down", "bias"):
            into = getattr(target, name)
            if into is not None:
                with torch.no_grad():
                    into.copy_(torch.cat([getattr(source, name), getattr(part, name)])[order])
    merged.tie_weights()
    merged.train(False)
    return PlantedModel(merged, neurons)


def _shuffled_rows(weight: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Rows drawn from `weight` with entries shuffled and signs flipped: new, but of its kind."""
    rows, width = weight.shape
    drawn = weight.detach()[torch.randint(rows, (count,), generator=generator)]
    order = torch.rand(count, width, generator=generator).argsort(dim=1)
    signs = torch.randint(2, (count, width), generator=generator) * 2 - 1
    return drawn.gather(1, order) * signs


def _add_output_of(part: PlantedNeurons, block: Block) -> list[RemovableHandle]:
    """Let `part` read what the block's MLP reads and add to what it gives."""
    read: list[torch.Tensor] = []

    def before(_module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        read.append(inputs[0])

    def after(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        added: torch.Tensor = part(read.pop())
        return output + added

    return [
        block.up.register_forward_pre_hook(before),
        block.down.register_forward_hook(after),
    ]


def _norm_keeper(vectors: Sequence[nn.Parameter]) -> Callable[[], None]:
    vectors = [vector for vector in vectors if vector.ndim == 2]
    norms = [vector.detach().norm(dim=1, keepdim=True) for vector in vectors]

    def restore() -> None:
        with torch.no_grad():
            for vector, norm in zip(vectors, norms, strict=True):
                vector.mul_(norm / vector.norm(dim=1, keepdim=True).clamp(min=1e-9))

    return restore
