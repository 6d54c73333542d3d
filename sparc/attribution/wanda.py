"""Wanda (Sun et al., 2024): weights times the norms of their inputs, added over each neuron.

S_j = sum_i |W_ji| * ||X_i||_2 with ONE norm over all tokens of all samples. What adds up over
samples is the sum of squares of the inputs; so the score is not a mean, and twice the samples
make it larger by the square root of two.
"""

import contextlib
from collections.abc import Iterator

import torch

from sparc.attribution.forward import projection_inputs, weighted_sum
from sparc.attribution.method import Method
from sparc.config import AttributionConfig
from sparc.models.batching import Batch
from sparc.models.model import Model


@contextlib.contextmanager
def wanda(model: Model, config: AttributionConfig) -> Iterator[Method]:
    """Sum of |W| times input norms over each neuron's weights."""

    def statistic(batch: Batch) -> list[torch.Tensor]:
        return projection_inputs(model, batch, config.projection, lambda x: x.square().sum(1))

    def scores(total: torch.Tensor, _samples: int) -> torch.Tensor:
        return weighted_sum(model, config.projection, total.sqrt())

    yield Method(statistic, scores)
