"""A language model split before its logits, of which only those that are scored are needed."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from sparc.families import FAMILIES
from sparc.models import blocks_of, input_device

Trunk = Callable[[Tensor, Tensor, int], Tensor]
"""Ids and mask [rows, tokens] -> states [rows, tokens, width] that are right from a token on."""


def trunk_and_head(model: Any, sample: Sequence[int]) -> tuple[Trunk, Callable[[Tensor], Tensor]]:
    """Split the model before its output embedding, so that logits are computed in parts.

    Some families scale their logits in ways of their own, so the split is compared with the whole
    model on the token ids of `sample`; where it differs, the trunk gives whole logits (right, but
    larger).
    """
    base, embedding, mlp = model.base_model, model.get_output_embeddings(), _last_mlp(model)
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)

    def trunk(ids: Tensor, mask: Tensor, first: int) -> Tensor:
        with _only_from(mlp, first):
            states = base(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        return torch.as_tensor(states)

    def head(states: Tensor) -> Tensor:
        logits: Tensor = embedding(states)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def whole(ids: Tensor, mask: Tensor, _first: int) -> Tensor:
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        return torch.as_tensor(logits)

    ids = torch.tensor([sample], device=input_device(model))
    mask, first = torch.ones_like(ids), ids.shape[1] // 2
    expected = whole(ids, mask, first)[:, first:].float()
    if base is not model and embedding is not None:
        found = head(trunk(ids, mask, first)[:, first:]).float()
        tolerance = 1e-3 * float(expected.nan_to_num().abs().max())
        if torch.allclose(found, expected, rtol=0, atol=tolerance, equal_nan=True):
            return trunk, head
    return whole, lambda logits: logits


def _last_mlp(model: Any) -> torch.nn.Module | None:
    """The last layer's MLP where it is a module that maps each token by itself."""
    row = FAMILIES.get(model.config.get_text_config().model_type)
    # OPT's layer is its own MLP
    return blocks_of(model, row)[-1].mlp if row and "." in row.up else None


@contextlib.contextmanager
def _only_from(mlp: torch.nn.Module | None, first: int) -> Iterator[None]:
    """Compute the last MLP for tokens from `first` on alone: no later layer mixes tokens."""
    if mlp is None or not first:
        yield
        return

    def cut(_module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0][:, first:].contiguous(), *inputs[1:])

    def padded(_module: torch.nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return torch.nn.functional.pad(output, (0, 0, first, 0))

    before, after = mlp.register_forward_pre_hook(cut), mlp.register_forward_hook(padded)
    try:
        yield
    finally:
        before.remove()
        after.remove()
