"""What an attribution method is: an additive statistic and how it becomes neuron scores."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from sparc.models.batching import Batch


@dataclass(frozen=True)
class Method:
    """One attribution method, bound to a model.

    Sums over samples are the unit of work, so batches, shards and resumed runs merge exactly.
    """

    statistic: Callable[[Batch], list[torch.Tensor]] | None
    """A batch -> one [samples, width] tensor a layer, additive over samples; None for a method
    that needs no reference samples."""
    scores: Callable[[torch.Tensor, int], torch.Tensor]
    """(The statistic's total [layers, width] over n samples, n) -> scores [layers, neurons];
    without a statistic the total is empty and n is 0."""


def mean(total: torch.Tensor, samples: int) -> torch.Tensor:
    """The mean over samples (SparC3, Eq. 1), for statistics of width `neurons`."""
    return total / samples
