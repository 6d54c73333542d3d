"""Which neurons go: the lowest of a score over all layers, or layer-matched random ones."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

Neuron = tuple[int, int]
"""(layer, index) of an MLP neuron."""


def lowest(score: torch.Tensor, count: int, layers: Sequence[int] | None = None) -> list[Neuron]:
    """The `count` lowest neurons of `score` [layers, neurons], most negative first.

    Ranked over all layers at once (SparC3, Eq. 2: argsort ascending), or over `layers` only; ties
    go to the lower layer and index. No neurons for count 0. Raises ValueError for more than there
    are.
    """
    available = score.shape[1] * (score.shape[0] if layers is None else len(set(layers)))
    if count > available:
        raise ValueError(f"{count} neurons asked for, {available} to choose from")
    if layers is not None:
        allowed = torch.zeros(score.shape[0], dtype=torch.bool)
        allowed[list(layers)] = True
        score = score.masked_fill(~allowed[:, None], torch.inf)
    order = torch.argsort(score.flatten(), stable=True)[:count]
    width = score.shape[1]
    return [(int(flat) // width, int(flat) % width) for flat in order]


def layer_matched(
    selection: Sequence[Neuron], neurons_per_layer: int, seed: Sequence[int]
) -> list[Neuron]:
    """As many random neurons of each layer as `selection` has there, without repetition.

    `seed`: whole numbers that name the draw, such as (root seed, draw).
    """
    generator = np.random.default_rng(list(seed))
    drawn: list[Neuron] = []
    for layer, count in sorted(Counter(layer for layer, _ in selection).items()):
        indices = generator.choice(neurons_per_layer, size=count, replace=False)
        drawn += [(layer, int(index)) for index in np.sort(indices)]
    return drawn


def per_layer(selection: Sequence[Neuron], layers: int) -> list[int]:
    """How many neurons of `selection` lie in each layer."""
    counts = Counter(layer for layer, _ in selection)
    return [counts[layer] for layer in range(layers)]
