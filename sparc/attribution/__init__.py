"""From reference sets to neuron scores, computed once and cached under their content."""

from sparc.attribution.engine import attribute, attribute_shard

__all__ = ["attribute", "attribute_shard"]
