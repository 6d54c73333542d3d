"""A model's shape without its weights: modules on torch's meta device, which hold no numbers."""

from typing import Any

import torch
from transformers import AutoModelForCausalLM

from sparc.config import ModelConfig
from sparc.models.families import family
from sparc.models.loading import Parts
from sparc.models.model import Model, assembled
from sparc.preflight.weights import Found


def skeleton(found: Found, config: ModelConfig) -> Model:
    """The model with the right modules, shapes and dtype, without weights or tokenizer."""
    architecture: Any = found.architecture
    with torch.device("meta"):
        network: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            architecture,
            dtype=getattr(torch, config.dtype),
            attn_implementation=config.attn_implementation,
        )
    row = family(architecture.model_type)
    return assembled(config.name, found.source, Parts(network, None, row, ""))
