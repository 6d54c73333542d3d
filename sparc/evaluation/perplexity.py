"""Exact perplexity of texts; `sparc.evaluation.windows` says what the conventions mean."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparc.batching import token_budget
from sparc.errors import UserError
from sparc.evaluation.inference import (
    Progress,
    context_length,
    evaluating,
    pad_right,
    padding_id,
)
from sparc.evaluation.trunk import trunk_and_head
from sparc.evaluation.windows import Window, text_windows
from sparc.models.model import input_device

# logits held at a time: 2^24 float32 are 64 MiB, whatever the vocabulary
_LOGITS_AT_ONCE = 2**24

# a text's own unigram perplexity is at most its number of tokens, so that of a short text is low
# enough for a good model to be worse
_TOKENS_FOR_UNIGRAM_CHECK = 500


@dataclass(frozen=True)
class TextNLL:
    """Negative log-likelihood (nats) of one named text.

    `nll` [windows] float64 sums over the predicted tokens of a window, `tokens` [windows] int64
    counts them. `unigram_perplexity` is that of the predicted tokens under their own frequencies.
    """

    nll: NDArray[np.float64]
    tokens: NDArray[np.int64]
    convention: str
    unigram_perplexity: float

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
    batch_tokens: int,
    append_eos: bool = False,
    bos_every_window: bool = False,
    progress: Progress | None = None,
) -> TextNLL:
    """Measure a causal language model on `texts`; see `windows` for the conventions.

    `stride` is used by ``stride`` alone, `append_eos` (end each document with the tokenizer's
    end-of-sequence token, which is then predicted too) by ``documents`` alone. `batch_tokens`
    bounds the padded tokens of a forward pass and does not change the result.
    Raises UserError for impossible settings and for texts without a token to predict.
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
        nll = _windows_nll(model, windows, padding_id(tokenizer), batch_tokens, progress)
    tokens = np.array([len(window.predicted) for window in windows], dtype=np.int64)
    predicted = np.concatenate([window.predicted for window in windows])
    return TextNLL(nll, tokens, convention, unigram_perplexity(np.bincount(predicted)))


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
    batch_tokens: int,
    progress: Progress | None,
) -> NDArray[np.float64]:
    trunk, head = trunk_and_head(model, windows[0].ids[:8])
    nll = np.zeros(len(windows))
    for batch in token_budget([len(window.ids) for window in windows], batch_tokens):
        ids, mask = pad_right([windows[i].ids for i in batch], pad_id, input_device(model))
        context = torch.tensor([windows[i].context for i in batch], device=ids.device)[:, None]
        first = int(context.min())
        states = trunk(ids, mask, first - 1)[:, first - 1 : -1]
        position = torch.arange(first, ids.shape[1], device=ids.device)
        wanted = (position >= context) & (mask[:, first:] == 1)
        losses = _losses(head, states[wanted.to(states.device)], ids[:, first:][wanted])
        rows = wanted.nonzero()[:, 0].cpu().numpy()
        nll[batch] = np.bincount(rows, weights=losses, minlength=len(batch))
        if progress is not None:
            progress(len(batch))
    return nll


def _losses(
    head: Callable[[Tensor], Tensor], states: Tensor, targets: Tensor
) -> NDArray[np.float64]:
    """-log p of each target [n], float32 log-softmax handed on as float64."""
    losses = []
    width = head(states[:1]).shape[-1]
    for part in range(0, len(targets), max(1, _LOGITS_AT_ONCE // width)):
        chosen = slice(part, part + max(1, _LOGITS_AT_ONCE // width))
        logits = head(states[chosen]).float()
        loss = torch.nn.functional.cross_entropy(
            logits, targets[chosen].to(logits.device), reduction="none"
        )
        losses.append(loss.cpu().numpy().astype(np.float64))
    return np.concatenate(losses)
