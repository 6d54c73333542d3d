"""What an attribution method is: an additive statistic and how it becomes neuron scores."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from sparc.batching import Batch


@dataclass(frozen=True)
class Method:
    """One attribution method, bound to a model.

    statistic: a batch -> one [samples, width] tensor a layer, additive over samples.
    scores: (its total [layers, width] over `n` samples, n) -> scores [layers, neurons].
    Sums over samples are the unit of work, so batches, shards and resumed runs merge exactly.
    """

    statistic: Callable[[Batch], list[torch.Tensor]]
    scores: Callable[[torch.Tensor, int], torch.Tensor]
