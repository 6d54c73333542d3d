"""Gradient x input of every neuron, without LRP's rules (SparC3's baseline)."""

import contextlib
from collections.abc import Iterator
from functools import partial

from sparc.attribution.forward import target
from sparc.attribution.method import Method, mean
from sparc.attribution.relevance import sample_relevance
from sparc.config import AttributionConfig
from sparc.models.model import Model


@contextlib.contextmanager
def gradient(model: Model, config: AttributionConfig) -> Iterator[Method]:
    """Weight x gradient added over each neuron's weights, averaged over samples."""
    statistic = partial(
        sample_relevance,
        model,
        target=target(config.target),
        projection=config.projection,
        reduction=config.reduction,
    )
    yield Method(statistic, mean)
