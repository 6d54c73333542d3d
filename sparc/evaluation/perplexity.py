"""Exact perplexity of texts; `sparc.evaluation.windows` says what the conventions mean."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sparc.errors import UserError
from sparc.evaluation.trunk import Head, Trunk, trunk_and_head
from sparc.evaluation.windows import Window, text_windows
from sparc.generation.inference import Advance, context_length, evaluating, ignore, padding_id
from sparc.models.batching import BatchTokens, in_batches
from sparc.models.model import input_device

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


def text_nll(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    convention: str,
    max_length: int,
    stride: int,
    batch_tokens: int | BatchTokens,
    append_eos: bool = False,
    bos_every_window: bool = False,
    advance: Advance = ignore,
) -> TextNLL:
    """Measure a causal language model on `texts`; see `windows` for the conventions.

    `stride` is used by ``stride`` alone, `append_eos` (end each document with the tokenizer's
    end-of-sequence token, which is then predicted too) by ``documents`` alone. `batch_tokens`
    bounds the padded tokens of a forward pass and does not change the result; where memory runs
    out it is halved. Raises UserError for impossible settings, for texts without a token to
    predict, and where one window does not fit in memory.
    """
    limit = context_length(model)
    if limit is not None and max_length > limit:
        raise UserError(
            f"perplexity windows of {max_length} tokens exceed the model's context of {limit}; "
            f"set max_length to {limit} or less"
        )
    windows = text_windows(
        tokenizer,
        texts,
        convention=convention,
        max_length=max_length,
        stride=stride,
        append_eos=append_eos,
        bos_every_window=bos_every_window,
    )
    with evaluating(model):
        room = reading(batch_tokens) if isinstance(batch_tokens, int) else batch_tokens
        nll = _windows_nll(model, windows, padding_id(tokenizer), room, advance)
    tokens = np.array([len(window.predicted) for window in windows], dtype=np.int64)
    predicted = np.concatenate([window.predicted for window in windows])
    return TextNLL(nll, tokens, convention, unigram_perplexity(np.bincount(predicted)))


def reading(batch_tokens: int) -> BatchTokens:
    """The budget of `evaluation.perplexity.batch_tokens`, for all texts together."""
    ways = "set evaluation.perplexity.max_length lower, model.dtype=bfloat16 or "
    return BatchTokens(
        batch_tokens,
        "evaluation.perplexity.batch_tokens",
        "window of text",
        f"{ways}model.device_map=auto",
    )


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


def _windows_nll(
    model: Any,
    windows: Sequence[Window],
    pad_id: int,
    room: BatchTokens,
    advance: Advance,
) -> NDArray[np.float64]:
    nll = np.zeros(len(windows))
    parts = cache(lambda: trunk_and_head(model, windows[0].ids[:8]))

    def losses(batch: list[int]) -> NDArray[np.float64]:
        return _batch_nll(model, *parts(), [windows[row] for row in batch], pad_id)

    for batch, found in in_batches([len(window.ids) for window in windows], room, losses):
        nll[batch] = found
        advance(len(batch))
    return nll


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
    losses = []
    at_once = max(1, _LOGITS_AT_ONCE // head(states[:1]).shape[-1])
    for part in range(0, len(targets), at_once):
        logits = head(states[part : part + at_once]).float()
        targets = targets.to(logits.device)
        losses.append(
            torch.nn.functional.cross_entropy(
                logits, targets[part : part + at_once], reduction="none"
            )
        )
    return torch.cat(losses).cpu().numpy().astype(np.float64)
