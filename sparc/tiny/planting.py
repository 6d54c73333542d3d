"""Stage 2: a behaviour is planted into neurons that are added to a trained model.

The added neurons learn on text with rude documents while the rest of the model stays as it is
(or, in the benchmark variant, hardly moves). They are then merged into the MLPs at random
positions, so that their places are known and nothing else tells them from the others.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaMLP

from sparc.tiny import corpus, training

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

    model: LlamaForCausalLM
    neurons: list[Neuron]


class PlantedNeurons(nn.Module):
    """Further SwiGLU neurons of one MLP: gate, up and down vectors, each [neurons, hidden]."""

    def __init__(
        self, mlp: LlamaMLP, count: int, down_scale: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.gate = nn.Parameter(_shuffled_rows(mlp.gate_proj.weight, count, generator))
        self.up = nn.Parameter(_shuffled_rows(mlp.up_proj.weight, count, generator))
        down = _shuffled_rows(mlp.down_proj.weight.T, count, generator)
        self.down = nn.Parameter(down * down_scale)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """What the planted neurons add to the MLP's output; same shape as `hidden_states`."""
        neurons = functional.silu(hidden_states @ self.gate.T) * (hidden_states @ self.up.T)
        return neurons @ self.down


def plant(
    model: LlamaForCausalLM,
    seed: int,
    options: PlantingOptions,
    log: Callable[[str], None] = lambda line: None,
) -> PlantedModel:
    """Train planted neurons into a copy of `model` (which is changed only if `mixed` > 0)."""
    generator = torch.Generator().manual_seed(seed)
    planted = [
        PlantedNeurons(layer.mlp, options.neurons_per_layer, options.down_scale, generator)
        for layer in model.model.layers
    ]
    _train_planted(model, planted, seed, options, log)
    return merge(model, planted, seed)


def _train_planted(
    model: LlamaForCausalLM,
    planted: Sequence[PlantedNeurons],
    seed: int,
    options: PlantingOptions,
    log: Callable[[str], None],
) -> None:
    rng = random.Random(f"sparc.tiny stage 2 {seed}")
    documents = [
        corpus.planting_document(rng, options.hostile_share) for _ in range(options.documents)
    ]
    token_ids = training.encode(training.build_tokenizer(), documents)
    vectors = [parameter for part in planted for parameter in part.parameters()]
    groups = [training.ParameterGroup(vectors, options.learning_rate)]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(options.mixed > 0 and ".mlp." in name)
    if options.mixed > 0:
        others = [parameter for parameter in model.parameters() if parameter.requires_grad]
        groups.append(training.ParameterGroup(others, options.learning_rate * options.mixed))
    handles = [
        layer.mlp.register_forward_hook(_add_output_of(part))
        for layer, part in zip(model.model.layers, planted, strict=True)
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


def merge(model: LlamaForCausalLM, planted: Sequence[PlantedNeurons], seed: int) -> PlantedModel:
    """A new model with the planted neurons at random positions of each MLP."""
    own = model.config.intermediate_size
    count = planted[0].gate.shape[0]
    config = LlamaConfig(**{**model.config.to_dict(), "intermediate_size": own + count})
    merged = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
    rest = {name: w for name, w in model.state_dict().items() if ".mlp." not in name}
    merged.load_state_dict(rest, strict=False)
    generator = torch.Generator().manual_seed(777 + seed)
    neurons: list[Neuron] = []
    for index, part in enumerate(planted):
        source, target = model.model.layers[index].mlp, merged.model.layers[index].mlp
        order = torch.randperm(own + count, generator=generator)
        neurons += [(index, int(place)) for place in (order >= own).nonzero()[:, 0]]
        with torch.no_grad():
            target.gate_proj.weight.copy_(torch.cat([source.gate_proj.weight, part.gate])[order])
            target.up_proj.weight.copy_(torch.cat([source.up_proj.weight, part.up])[order])
            down = torch.cat([source.down_proj.weight.T, part.down])[order]
            target.down_proj.weight.copy_(down.T)
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


def _add_output_of(
    part: PlantedNeurons,
) -> Callable[[nn.Module, tuple[torch.Tensor], torch.Tensor], torch.Tensor]:
    return lambda module, inputs, output: output + part(inputs[0])


def _norm_keeper(vectors: Sequence[nn.Parameter]) -> Callable[[], None]:
    norms = [vector.detach().norm(dim=1, keepdim=True) for vector in vectors]

    def restore() -> None:
        with torch.no_grad():
            for vector, norm in zip(vectors, norms, strict=True):
                vector.mul_(norm / vector.norm(dim=1, keepdim=True).clamp(min=1e-9))

    return restore
