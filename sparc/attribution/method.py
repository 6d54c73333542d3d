"""What an attribution method is: an additive statistic and how it becomes neuron scores."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from hydra.utils import get_method

from sparc.attribution.memory import gradient_checkpointing
from sparc.config import AttributionConfig
from sparc.errors import UserError
from sparc.models.batching import Batch
from sparc.models.model import Model


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


@contextlib.contextmanager
def opened(model: Model, config: AttributionConfig) -> Iterator[Method]:
    """The method of `config`, bound to `model`. Raises UserError where its target gives none."""
    target = config._target_
    with gradient_checkpointing(model, config.gradient_checkpointing):
        try:
            context = get_method(target)(model, config)
        except TypeError as error:
            raise UserError(f"attribution._target_={target}: {error}") from error
        if not isinstance(context, contextlib.AbstractContextManager):
            raise UserError(
                f"attribution._target_={target}: is no attribution method: called with model and "
                f"configuration it gives a {type(context).__name__}, not a context of a Method"
            )
        with context as method:
            yield method
