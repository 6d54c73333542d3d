"""Magnitude: the sum of a neuron's absolute weights, without any reference samples.

The general set gets the score and the undesired set zero, so that their contrast is the score
itself and the smallest neurons go first, as in magnitude pruning. It is blind to the behaviour.
"""

import contextlib
from collections.abc import Iterator

from sparc.attribution.forward import weighted_sum
from sparc.attribution.method import Method
from sparc.config import AttributionConfig
from sparc.models.model import Model


@contextlib.contextmanager
def magnitude(model: Model, config: AttributionConfig) -> Iterator[Method]:
    """Sum of |W| over each neuron's weights in `config.projection`."""
    yield Method(None, lambda _total, _samples: weighted_sum(model, config.projection, None))
