"""Layer-wise Relevance Propagation (SparC3, Eq. 5-9; AttnLRP) through lxt's rules."""

import contextlib
from collections.abc import Iterator

import torch

from sparc.attribution.lxt_rules import lrp_rules
from sparc.attribution.method import Method
from sparc.attribution.relevance import sample_relevance
from sparc.attribution.target import target
from sparc.batching import Batch
from sparc.config import AttributionConfig
from sparc.models import Model


@contextlib.contextmanager
def lrp(model: Model, config: AttributionConfig) -> Iterator[Method]:
    """LRP relevance of every neuron, averaged over samples; the rules hold inside the block."""
    explained = target(config.target)

    def statistic(batch: Batch) -> list[torch.Tensor]:
        return sample_relevance(
            model, batch, explained, projection=config.projection, reduction=config.reduction
        )

    with lrp_rules(model, config.rules):
        yield Method(statistic, lambda total, samples: total / samples)
