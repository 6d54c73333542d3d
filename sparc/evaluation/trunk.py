"""A language model split before its logits, of which only those that are scored are needed."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sparc.models.model import input_device, last_mlp_from

Trunk = Callable[[Tensor, Tensor, int], Tensor]
"""Ids and mask [rows, tokens] -> states [rows, tokens, width] that are right from a token on."""
Head = Callable[[Tensor], Tensor]
"""States [.., width] -> logits [.., vocabulary], on the device of the output embedding."""


def trunk_and_head(model: Any, sample: Sequence[int]) -> tuple[Trunk, Head]:
    """Split the model before its output embedding, so that logits are computed in parts.

    Some families scale their logits in ways of their own, so the split is compared with the whole
    model on the token ids of `sample`; where it differs, the trunk gives whole logits (right, but
    larger).
    """
    base, embedding = model.base_model, model.get_output_embeddings()
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)

    def trunk(ids: Tensor, mask: Tensor, first: int) -> Tensor:
        with last_mlp_from(model, first):
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
        # the head's GPU need not be the one that the whole model brings its logits to
        found = head(trunk(ids, mask, first)[:, first:]).to(expected.device)
        # What kernels for fewer tokens round otherwise: the last digits of 16 bits; in float32 the
        # sums of a wide layer in another order, some 10 eps. A scale or a cap differs by far more.
        relative = max(4 * torch.finfo(found.dtype).eps, 1e-5)
        tolerance = relative * float(expected.nan_to_num().abs().max())
        found = found.float()
        if torch.allclose(found, expected, rtol=0, atol=tolerance, equal_nan=True):
            return trunk, head
    return whole, lambda logits: logits
