"""Layer-wise Relevance Propagation (SparC3, Eq. 5-9; AttnLRP) through lxt's rules."""

import contextlib
from collections.abc import Iterator

from sparc.attribution.gradient import gradient
from sparc.attribution.lxt_rules import lrp_rules
from sparc.attribution.method import Method
from sparc.config import AttributionConfig
from sparc.models.model import Model


@contextlib.contextmanager
def lrp(model: Model, config: AttributionConfig) -> Iterator[Method]:
    """LRP relevance of every neuron, averaged over samples; the rules hold inside the block."""
    with lrp_rules(model, config.rules), gradient(model, config) as method:
        yield method
