"""Sampled or greedy completions whose random stream belongs to the prompt, not to the batch.

The uniform number behind each token depends on the seed, the prompt's text, the sample and the
step alone; the token is where the cumulative distribution, in the vocabulary's order, passes it.
So batch size, order and the other prompts do not decide which text is sampled (up to rounding of
the logits), and two models that agree on a distribution draw the same token from it: a change
between them is the models', not the dice's. The same prompt twice gives the same completions.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
)

from sparc.batching import Batch, pad_left, token_budget
from sparc.errors import UserError
from sparc.evaluation.inference import (
    Progress,
    context_length,
    evaluating,
    padding_id,
)


@dataclass(frozen=True)
class Sampling:
    """How to complete a prompt: `samples` texts of at most `max_new_tokens` tokens each.

    `temperature` 0 is greedy decoding (one sample). `top_p` 1 and `top_k` 0 are off. Raises
    UserError for values that make no sense.
    """

    samples: int
    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        checks = {
            f"samples is {self.samples}; use at least 1": self.samples >= 1,
            f"max_new_tokens is {self.max_new_tokens}; use at least 1": self.max_new_tokens >= 1,
            f"temperature is {self.temperature}; use 0 (greedy) or more": self.temperature >= 0,
            f"top_p is {self.top_p}; use a value above 0 and up to 1": 0 < self.top_p <= 1,
            f"top_k is {self.top_k}; use 0 (off) or more": self.top_k >= 0,
            f"temperature 0 is greedy, so {self.samples} samples would be equal; use samples=1": (
                not self.greedy or self.samples <= 1
            ),
        }
        for message, holds in checks.items():
            if not holds:
                raise UserError(message)

    @property
    def greedy(self) -> bool:
        return self.temperature == 0


def complete(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    sampling: Sampling,
    *,
    seed: int,
    batch_tokens: int,
    progress: Progress | None = None,
) -> list[list[str]]:
    """Complete each prompt; return [prompts][samples] texts without prompt and special tokens.

    Works with any causal language model of transformers; sampling defaults stored with the model
    are not used. `batch_tokens` bounds a batch's prompt and new tokens together. Raises UserError
    for a prompt that is empty or too long for the model's context, and for logits that are not
    finite.
    """
    encoded = _encode(model, tokenizer, prompts, sampling.max_new_tokens)
    lengths = [(len(ids) + sampling.max_new_tokens) * sampling.samples for ids in encoded]
    ends = _end_tokens(model, tokenizer)
    config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,  # the processor below has drawn already: argmax takes what it left
        max_new_tokens=sampling.max_new_tokens,
        eos_token_id=ends or None,
        pad_token_id=padding_id(tokenizer),
    )
    texts = [[""] * sampling.samples for _ in prompts]
    with evaluating(model), _generation_config(model, config):
        for batch in token_budget(lengths, batch_tokens):
            padded = pad_left(encoded, config.pad_token_id, model.device, batch)
            rows = [(prompt, i) for prompt in batch for i in range(sampling.samples)]
            uniforms = np.stack(
                [_uniforms(seed, prompts[p], i, sampling.max_new_tokens) for p, i in rows]
            )
            new = _generate(model, padded, sampling, uniforms)
            for (prompt, sample), tokens in zip(rows, new.tolist(), strict=True):
                texts[prompt][sample] = _text(tokenizer, tokens, ends)
            if progress is not None:
                progress(len(rows))
    return texts


def _generate(
    model: Any, prompts: Batch, sampling: Sampling, uniforms: NDArray[np.float64]
) -> Tensor:
    """New token ids [prompts x samples, steps], steps up to `max_new_tokens`; padded at the end."""
    ids = prompts.input_ids.repeat_interleave(sampling.samples, 0)
    choose = _Choose(sampling, torch.from_numpy(uniforms).to(ids.device), ids.shape[1])
    output = model.generate(
        input_ids=ids,
        attention_mask=prompts.attention_mask.repeat_interleave(sampling.samples, 0),
        past_key_values=_shared_prefill(model, prompts, sampling.samples),
        generation_config=model.generation_config,
        logits_processor=LogitsProcessorList([choose]),
    )
    return torch.as_tensor(output)[:, ids.shape[1] :]


@torch.no_grad()
def _shared_prefill(model: Any, prompts: Batch, samples: int) -> DynamicCache | None:
    """Keys and values of all but the prompts' last tokens, computed once for all their samples."""
    if samples == 1 or prompts.input_ids.shape[1] == 1:
        return None
    cache = DynamicCache(config=model.config)
    model(
        input_ids=prompts.input_ids[:, :-1],
        attention_mask=prompts.attention_mask[:, :-1],
        position_ids=prompts.position_ids[:, :-1],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    cache.batch_repeat_interleave(samples)
    return cache


class _Choose(LogitsProcessor):
    """Leave one token per row: the greedy one, or the one that the row's uniform number picks."""

    def __init__(self, sampling: Sampling, uniforms: Tensor, prompt_length: int) -> None:
        self.greedy = sampling.greedy
        self.uniforms = uniforms
        self.prompt_length = prompt_length
        self.top_p = sampling.top_p
        self.warpers: list[Any] = []
        if sampling.temperature not in (0, 1):
            self.warpers.append(TemperatureLogitsWarper(sampling.temperature))
        if sampling.top_k > 0:
            self.warpers.append(TopKLogitsWarper(sampling.top_k))

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Return scores [rows, vocabulary]: 0 for the chosen token, -inf for all others."""
        if not torch.isfinite(scores.logsumexp(-1)).all():
            raise UserError("the model's logits are not finite; check its weights and dtype")
        if self.greedy:
            token = scores.argmax(-1, keepdim=True)
        else:
            for warper in self.warpers:
                scores = warper(input_ids, scores)
            scores = nucleus(scores, self.top_p)
            step = input_ids.shape[1] - self.prompt_length
            token = inverse_cdf(scores, self.uniforms[:, step, None])
        return torch.full_like(scores, -torch.inf).scatter(1, token, 0.0)


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
    `uniforms` [rows, 1] lie in [0, 1).
    """
    cumulative = scores.double().softmax(-1).cumsum(-1)
    total = cumulative[:, -1:]
    # strictly below the total, whatever rounding did, so that the search ends at a possible token
    target = torch.minimum(uniforms * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, target, right=True)


def _uniforms(seed: int, prompt: str, sample: int, steps: int) -> NDArray[np.float64]:
    """The first `steps` uniform numbers in [0, 1) of the stream of (seed, prompt, sample)."""
    digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest()
    words = np.frombuffer(digest, dtype="<u4").tolist()
    sequence = np.random.SeedSequence([seed, *words], spawn_key=(sample,))
    return np.random.Generator(np.random.Philox(sequence)).random(steps)


def _encode(
    model: Any, tokenizer: Any, prompts: Sequence[str], max_new_tokens: int
) -> list[list[int]]:
    limit = context_length(model)
    encoded: list[list[int]] = []
    for number, prompt in enumerate(prompts, start=1):
        ids = list(tokenizer(prompt, truncation=False, verbose=False)["input_ids"])
        # a tokenizer that ends every text would make the model begin a new one
        if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
            ids.pop()
        if not ids:
            raise UserError(f"prompt {number} is empty; remove it or give it text")
        if limit is not None and len(ids) + max_new_tokens > limit:
            raise UserError(
                f"prompt {number} has {len(ids)} tokens, which with {max_new_tokens} new ones "
                f"exceed the model's context of {limit}; shorten it or lower max_new_tokens"
            )
        encoded.append(ids)
    return encoded


def _end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """End-of-sequence tokens of tokenizer and model: chat models have several."""
    stored = model.generation_config.eos_token_id
    stored = stored if isinstance(stored, list) else [stored]
    return sorted({token for token in [tokenizer.eos_token_id, *stored] if token is not None})


@contextmanager
def _generation_config(model: Any, config: GenerationConfig) -> Iterator[None]:
    """Replace the model's own defaults: `generate` fills whatever we leave unset from them."""
    stored = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = stored


def _text(tokenizer: Any, tokens: list[int], ends: Sequence[int]) -> str:
    """Decode up to the first end-of-sequence token; what follows it is padding."""
    length = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
    text = tokenizer.decode(
        tokens[:length], skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return str(text)
