"""Integrated gradients (Sundararajan et al., 2017) over the weights of the neurons.

The path scales the projection's weights in all layers at once from zero to themselves; biases
stay. With G(s) the gradient at scale s, a neuron scores  sum_i w_ji * integral_0^1 G_ji(s) ds ,
by the midpoint rule. The scores of all neurons add up to the explained output minus its value
without them (completeness), which the gradient at the end of the path alone does not give.
"""

import contextlib
from collections.abc import Iterator

import torch

from sparc.attribution.forward import fixed_target, last_logits
from sparc.attribution.method import Method, mean
from sparc.attribution.relevance import sample_relevance
from sparc.config import AttributionConfig
from sparc.models.batching import Batch
from sparc.models.model import Model


@contextlib.contextmanager
def integrated_gradients(model: Model, config: AttributionConfig) -> Iterator[Method]:
    """Integrated gradients with `config.steps` points, averaged over samples."""

    def statistic(batch: Batch) -> list[torch.Tensor]:
        with torch.no_grad():  # the path explains one and the same output from end to end
            explained = fixed_target(config.target, last_logits(model, batch))
        totals: list[torch.Tensor] = []
        for step in range(config.steps):
            point = sample_relevance(
                model,
                batch,
                explained,
                projection=config.projection,
                reduction="signed",
                scale=(step + 0.5) / config.steps,
            )
            totals = [a + b for a, b in zip(totals, point, strict=True)] if totals else point
        means = [total / config.steps for total in totals]
        return [each.abs() for each in means] if config.reduction == "abs_sample" else means

    yield Method(statistic, mean)
