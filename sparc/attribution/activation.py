"""Neuron activation: how strongly the hidden neurons fire (SparC3's baseline).

A hidden neuron is one input of the down projection. A sample's value is the mean of |h| over its
real tokens, so that long texts do not count for more; the score is the mean over samples. The
contrast is then the difference of mean activations: the neurons that fire most on undesired text
and least on general text come first.
"""

import contextlib
from collections.abc import Iterator

import torch

from sparc.attribution.forward import projection_inputs
from sparc.attribution.method import Method, mean
from sparc.config import AttributionConfig
from sparc.models.batching import Batch
from sparc.models.model import Model


@contextlib.contextmanager
def activation(model: Model, config: AttributionConfig) -> Iterator[Method]:
    """Mean |hidden neuron| over the tokens of a sample, averaged over samples."""

    def statistic(batch: Batch) -> list[torch.Tensor]:
        tokens = batch.attention_mask.sum(1, keepdim=True)
        return projection_inputs(
            model, batch, "hidden", lambda hidden: hidden.abs().sum(1) / tokens.to(hidden.device)
        )

    yield Method(statistic, mean)
