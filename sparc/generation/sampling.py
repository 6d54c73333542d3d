"""Which token comes next: the greedy one, or the one that a row's own uniform number picks.

The uniform number behind each token depends on the seed, the prompt's text, the sample and the
step alone; the token is where the cumulative distribution, in the vocabulary's order, passes it.
"""

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper

from sparc.config import SamplingConfig
from sparc.errors import UserError

LOGITS_AT_ONCE = 2**22
"""Logits that are sampled from at a time; each takes some 35 bytes meanwhile."""


def refuse_impossible(sampling: SamplingConfig) -> None:
    """Raise UserError for values that make no sense."""
    samples, temperature = sampling.samples, sampling.temperature
    checks = {
        f"samples is {samples}; use at least 1": samples >= 1,
        f"max_new_tokens is {sampling.max_new_tokens}; use at least 1": (
            sampling.max_new_tokens >= 1
        ),
        f"temperature is {temperature}; use 0 (greedy) or more": temperature >= 0,
        f"top_p is {sampling.top_p}; use a value above 0 and up to 1": 0 < sampling.top_p <= 1,
        f"top_k is {sampling.top_k}; use 0 (off) or more": sampling.top_k >= 0,
        f"temperature 0 is greedy, so {samples} samples would be equal; use samples=1": (
            temperature > 0 or samples <= 1
        ),
    }
    for message, holds in checks.items():
        if not holds:
            raise UserError(message)


class Choose(LogitsProcessor):
    """Leave one token per row: the greedy one, or the one that the row's uniform number picks."""

    def __init__(self, sampling: SamplingConfig, numbers: Tensor, prompt_length: int) -> None:
        self.greedy = sampling.temperature == 0
        self.uniforms = numbers
        self.prompt_length = prompt_length
        self.top_p = sampling.top_p
        self.warpers: list[Any] = []
        if sampling.temperature not in (0, 1):
            self.warpers.append(TemperatureLogitsWarper(sampling.temperature))
        if sampling.top_k > 0:
            self.warpers.append(TopKLogitsWarper(sampling.top_k))
        self._finite: Tensor | None = None

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Make scores [rows, vocabulary] 0 for the chosen token and -inf for all others, in place.

        Rows are sampled in parts: what sampling holds besides does not grow with their number.
        """
        step = input_ids.shape[1] - self.prompt_length
        at_once = max(1, LOGITS_AT_ONCE // scores.shape[1])
        for first in range(0, len(scores), at_once):
            rows = slice(first, first + at_once)
            self._note(scores[rows])
            token = self._chosen(input_ids[rows], scores[rows], self.uniforms[rows, step, None])
            scores[rows].fill_(-torch.inf).scatter_(1, token, 0.0)
        return scores

    def check(self) -> None:
        """Raise UserError where any logits so far were not finite: asked once, as it waits."""
        if self._finite is not None and not bool(self._finite):
            raise UserError("the model's logits are not finite; check its weights and dtype")

    def _note(self, scores: Tensor) -> None:
        finite = scores.logsumexp(-1).isfinite().all()
        self._finite = finite if self._finite is None else self._finite & finite

    def _chosen(self, input_ids: Tensor, scores: Tensor, numbers: Tensor) -> Tensor:
        """The next token of each row, [rows, 1]."""
        if self.greedy:
            return scores.argmax(-1, keepdim=True)
        for warper in self.warpers:
            scores = warper(input_ids, scores)
        # behind logits that are not finite there may be no token: see `check`
        token = inverse_cdf(nucleus(scores, self.top_p), numbers)
        return token.clamp(max=scores.shape[-1] - 1)


def nucleus(scores: Tensor, top_p: float) -> Tensor:
    """Exclude (-inf) all tokens below the likeliest ones that together reach `top_p`.

    `scores` [rows, vocabulary] are logits. Equal to transformers' TopPLogitsWarper but for tokens
    of equal score at the edge, which all stay: which of them does must not depend on the batch.
    """
    if top_p == 1:
        return scores
    # values alone decide, and numpy sorts them some ten times faster than torch on the CPU
    if scores.device.type == "cpu":
        ascending = torch.from_numpy(np.sort(scores.numpy(), axis=-1))
    else:
        ascending = scores.sort(dim=-1).values
    unlikely = (ascending.softmax(-1).cumsum(-1) <= 1 - top_p).sum(-1, keepdim=True)
    lowest = ascending.gather(-1, unlikely.clamp(max=scores.shape[-1] - 1))
    return scores.masked_fill(scores < lowest, -torch.inf)


def inverse_cdf(scores: Tensor, uniforms: Tensor) -> Tensor:
    """Return the token [rows, 1] at which the cumulative softmax of `scores` passes `uniforms`.

    `scores` [rows, vocabulary] are logits, -inf for excluded tokens, which are never returned;
    `uniforms` [rows, 1] lie in [0, 1), on the `sampling_device` of `scores`.
    """
    numbers = scores.to(sampling_device(scores.device)).double()
    cumulative = numbers.softmax(-1).cumsum(-1)
    total = cumulative[:, -1:]
    # strictly below the total, whatever rounding did, so that the search ends at a possible token
    target = torch.minimum(uniforms * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, target, right=True).to(scores.device)


def sampling_device(device: torch.device) -> torch.device:
    """Where tokens of logits on `device` are sampled: there, or the CPU if it has no float64."""
    return torch.device("cpu") if device.type == "mps" else device


def uniforms(seed: int, prompt: str, sample: int, steps: int) -> NDArray[np.float64]:
    """The first `steps` uniform numbers in [0, 1) of the stream of (seed, prompt, sample)."""
    digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest()
    words = np.frombuffer(digest, dtype="<u4").tolist()
    sequence = np.random.SeedSequence([seed, *words], spawn_key=(sample,))
    return np.random.Generator(np.random.Philox(sequence)).random(steps)
