"""What every measurement that runs a model needs: progress and evaluation mode."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

Advance = Callable[[int], None]
"""Called after each batch with the number of items it has finished."""


def ignore(_count: int) -> None:
    """Show no progress."""


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
        model.train(training)
