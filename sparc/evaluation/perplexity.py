"""Exact perplexity of texts; `sparc.evaluation.windows` says what the conventions mean.

A language model is split before its logits, of which only those that are scored are needed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from sparc.errors import UserError
from sparc.evaluation.windows import Window, WindowSettings, text_windows
from sparc.generation.inference import evaluating
from sparc.models.batching import BatchTokens, in_batches
from sparc.models.model import Model, input_device, last_mlp_from

Trunk = Callable[[Tensor, Tensor, int], Tensor]
"""Ids and mask [rows, tokens] -> states [rows, tokens, width] that are right from a token on."""
Head = Callable[[Tensor], Tensor]
"""States [.., width] -> logits [.., vocabulary], on the device of the output embedding."""

# logits held at a time: 2^24 float32 are 64 MiB, whatever the vocabulary
_LOGITS_AT_ONCE = 2**24

# a text's own unigram perplexity is at most its number of tokens, so that of a short text is low
# enough for a good model to be worse
_TOKENS_FOR_UNIGRAM_CHECK = 500


@dataclass(frozen=True)
class TextNLL:
    """Negative log-likelihood (nats) of one named text."""

    nll: NDArray[np.float64]
    """[windows], summed over the predicted tokens of a window"""
    tokens: NDArray[np.int64]
    """[windows], the number of those tokens"""
    convention: str
    unigram_perplexity: float
    """Of the predicted tokens under their own frequencies."""

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log-likelihood of a predicted token (inf on overflow)."""
        with np.errstate(over="ignore"):
            return float(np.exp(self.nll.sum() / self.tokens.sum()))


def text_nll(model: Model, texts: Sequence[str], how: WindowSettings, room: BatchTokens) -> TextNLL:
    """Measure a causal language model on `texts`.

    `room` does not change the result. Raises UserError for impossible settings, for texts without
    a token to predict, and where one window does not fit in memory.
    """
    network, limit = model.network, model.max_length
    if how.max_length > limit:
        raise UserError(
            f"perplexity windows of {how.max_length} tokens exceed the model's context of {limit}; "
            f"set max_length to {limit} or less"
        )
    windows = text_windows(model.tokenizer, texts, how)
    nll = np.zeros(len(windows))
    parts = cache(lambda: trunk_and_head(network, windows[0].ids[:8]))

    def losses(batch: list[int]) -> NDArray[np.float64]:
        return _batch_nll(network, *parts(), [windows[row] for row in batch], model.pad_id)

    with evaluating(network):
        for batch, found in in_batches([len(window.ids) for window in windows], room, losses):
            nll[batch] = found
    tokens = np.array([len(window.predicted) for window in windows], dtype=np.int64)
    predicted = np.concatenate([window.predicted for window in windows])
    return TextNLL(nll, tokens, how.convention, unigram_perplexity(np.bincount(predicted)))


def reading(batch_tokens: int) -> BatchTokens:
    """The budget of `evaluation.perplexity.batch_tokens`, for all texts together."""
    setting = "evaluation.perplexity.batch_tokens"
    ways = "set evaluation.perplexity.max_length lower, model.dtype=bfloat16 or "
    return BatchTokens(batch_tokens, setting, "window of text", f"{ways}model.device_map=auto")


def unigram_perplexity(counts: NDArray[np.integer[Any]]) -> float:
    """Perplexity of a text under its own token frequencies, exp of their entropy.

    `counts` [vocabulary] says how often each token occurs.
    """
    frequencies = counts[counts > 0] / counts.sum()
    return float(np.exp(-(frequencies * np.log(frequencies)).sum()))


def assert_sane_baseline(name: str, text: TextNLL) -> None:
    """Raise UserError where the unpruned model does not model the text called `name` at all.

    That is a perplexity that is not finite or worse than the text's own unigram perplexity, which
    a model reaches that knows nothing but word frequencies (checked from 500 tokens on).
    """
    perplexity = text.perplexity
    hint = "check the weights, the tokenizer and the dtype"
    if not math.isfinite(perplexity):
        raise UserError(f"baseline perplexity of text '{name}' is {perplexity}; {hint}")
    known = text.tokens.sum() >= _TOKENS_FOR_UNIGRAM_CHECK
    if known and perplexity > text.unigram_perplexity:
        raise UserError(
            f"baseline perplexity of text '{name}' is {perplexity:.4g}, worse than "
            f"{text.unigram_perplexity:.4g} of its word frequencies alone; {hint}"
        )


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


def _batch_nll(
    model: Any, trunk: Trunk, head: Head, windows: Sequence[Window], pad_id: int
) -> NDArray[np.float64]:
    """The sum over each window's predicted tokens, [windows]."""
    rows_of_ids = [torch.tensor(window.ids) for window in windows]
    ids = pad_sequence(rows_of_ids, batch_first=True, padding_value=pad_id)
    mask = pad_sequence([torch.ones_like(row) for row in rows_of_ids], batch_first=True)
    first = min(window.context for window in windows)
    context = torch.tensor([window.context for window in windows])[:, None]
    wanted = (torch.arange(first, ids.shape[1]) >= context) & (mask[:, first:] == 1)
    rows, columns = wanted.nonzero(as_tuple=True)
    device = input_device(model)
    states = trunk(ids.to(device), mask.to(device), first - 1)[:, first - 1 : -1]
    states = states[rows.to(states.device), columns.to(states.device)]
    losses = _losses(head, states, ids[rows, first + columns])
    nll = np.bincount(rows.numpy(), weights=losses, minlength=len(windows))
    return nll.astype(np.float64, copy=False)


def _losses(head: Head, states: Tensor, targets: Tensor) -> NDArray[np.float64]:
    """-log p of each target [n], float32 log-softmax handed on as float64."""
    first = head(states[:1])
    at_once = max(1, _LOGITS_AT_ONCE // first.shape[-1])
    targets = targets.to(first.device)
    parts = [slice(begin, begin + at_once) for begin in range(0, len(targets), at_once)]
    losses = [cross_entropy(head(states[i]).float(), targets[i], reduction="none") for i in parts]
    return torch.cat(losses).cpu().numpy().astype(np.float64)
