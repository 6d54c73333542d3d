"""A model's shape without its weights: modules on torch's meta device, which hold no numbers."""

from sparc.config import ModelConfig
from sparc.models.loading import Parts, empty
from sparc.models.model import Model, assembled
from sparc.preflight.weights import Found


def skeleton(found: Found, config: ModelConfig) -> Model:
    """The model with the right modules, shapes and dtype, without weights or tokenizer."""
    network = empty(found.architecture, config)
    return assembled(config.name, found.source, Parts(network, None, ""))
