"""Random scores: a selection that knows nothing, to hold methods against.

As for magnitude, the general set gets the score and the undesired set zero, so that the contrast
is the score itself.
"""

import contextlib
from collections.abc import Iterator

import torch

from sparc.attribution.method import Method
from sparc.config import AttributionConfig
from sparc.models.model import Model


@contextlib.contextmanager
def random(model: Model, config: AttributionConfig) -> Iterator[Method]:
    """Uniform in [0, 1), drawn from `config.seed`: the same for every reference seed."""

    def scores(_total: torch.Tensor, _samples: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(config.seed)
        shape = len(model.blocks), model.neurons_per_layer
        return torch.rand(shape, dtype=torch.float64, generator=generator)

    yield Method(None, scores)
