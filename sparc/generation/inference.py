"""What every measurement that runs a model needs: progress, padding, limits, evaluation mode."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

Advance = Callable[[int], None]
"""Called after each batch with the number of items it has finished."""


def ignore(_count: int) -> None:
    """Show no progress."""


def padding_id(tokenizer: Any) -> int:
    """Return an id to pad with: the tokenizer's own, else end-of-sequence, else 0.

    Padded positions are always masked, so any valid id will do.
    """
    candidates = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return next(int(token) for token in candidates if token is not None)


def context_length(model: Any) -> int | None:
    """Return the number of positions the model was built for, None where it states none."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Switch dropout and gradients off, and the model's mode back afterwards."""
    training = model.training
    model.eval()
    try:
        # not inference_mode: buffers that a model caches here must stay usable for gradients
        with torch.no_grad():
            yield
    finally:
        if training:
            model.train()
