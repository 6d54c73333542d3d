"""What every measurement that runs a model needs: padding, limits and evaluation mode."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

Progress = Callable[[int], None]
"""Called after each batch with the number of items it has finished."""


def pad_right(sequences: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask of right-padded sequences, both [sequences, longest] int64."""
    longest = max(len(sequence) for sequence in sequences)
    ids = torch.full((len(sequences), longest), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)
        mask[row, : len(sequence)] = 1
    return ids, mask


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
