"""Sampled or greedy completions whose random stream belongs to the prompt, not to the batch.

Batch size, order and the other prompts do not decide which text is sampled (up to rounding of
the logits), and two models that agree on a distribution sample the same token from it: a change
between them is the models', not the dice's. The same prompt twice gives the same completions.
`sparc.generation.sampling` picks the tokens.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, LogitsProcessorList

from sparc.config import SamplingConfig
from sparc.errors import UserError
from sparc.generation.inference import Advance, context_length, evaluating, ignore, padding_id
from sparc.generation.sampling import Choose, refuse_impossible, sampling_device, uniforms
from sparc.models.batching import Batch, BatchTokens, in_batches, pad_left
from sparc.models.model import input_device


def complete(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    sampling: SamplingConfig,
    *,
    seed: int,
    batch_tokens: int | BatchTokens,
    advance: Advance = ignore,
) -> list[list[str]]:
    """Complete each prompt; return [prompts][samples] texts without prompt and special tokens.

    Works with any causal language model of transformers; sampling defaults stored with the model
    are not used. `batch_tokens` bounds a batch's prompt and new tokens together; where memory runs
    out it is halved. Raises UserError for a prompt that is empty or too long for the model's
    context, for logits that are not finite, and where one completion does not fit in memory.
    """
    tokens = complete_tokens(
        model,
        tokenizer,
        prompts,
        sampling,
        seed=seed,
        batch_tokens=batch_tokens,
        advance=advance,
    )
    return [[decoded(tokenizer, ids) for ids in samples] for samples in tokens]


def complete_tokens(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    sampling: SamplingConfig,
    *,
    seed: int,
    batch_tokens: int | BatchTokens,
    advance: Advance = ignore,
) -> list[list[list[int]]]:
    """As `complete`, but the new token ids [prompts][samples][tokens], without the end token."""
    refuse_impossible(sampling)
    encoded = encode(model, tokenizer, prompts, sampling.max_new_tokens)
    ends = end_tokens(model, tokenizer)
    config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,  # the processor below has chosen already: argmax takes what it left
        max_new_tokens=sampling.max_new_tokens,
        eos_token_id=ends or None,
        pad_token_id=padding_id(tokenizer),
    )
    samples = sampling.samples  # row r is sample r % samples of prompt r // samples
    lengths = [len(ids) + sampling.max_new_tokens for ids in encoded for _ in range(samples)]

    def said(batch: list[int]) -> list[list[int]]:
        chosen = [divmod(row, samples) for row in batch]
        numbers = [uniforms(seed, prompts[p], i, sampling.max_new_tokens) for p, i in chosen]
        new = _generate(model, encoded, [p for p, _ in chosen], sampling, np.stack(numbers))
        return [_up_to_end(tokens, ends) for tokens in new.tolist()]

    found: dict[int, list[int]] = {}
    room = completing(batch_tokens) if isinstance(batch_tokens, int) else batch_tokens
    with evaluating(model), _generation_config(model, config):
        for batch, new in in_batches(lengths, room, said, together=samples):
            found.update(zip(batch, new, strict=True))
            advance(len(batch))
    return [[found[p * samples + i] for i in range(samples)] for p in range(len(prompts))]


def completing(batch_tokens: int) -> BatchTokens:
    """The budget of `evaluation.batch_tokens`, for all completions together."""
    ways = "set model.dtype=bfloat16 or model.device_map=auto, or ask for fewer new tokens"
    return BatchTokens(batch_tokens, "evaluation.batch_tokens", "completion", ways)


def decoded(tokenizer: Any, tokens: Sequence[int]) -> str:
    """The text of new token ids, without special tokens and with the spaces they stand for."""
    return str(
        tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    )


def _generate(
    model: Any,
    encoded: Sequence[Sequence[int]],
    prompts: list[int],
    sampling: SamplingConfig,
    numbers: NDArray[np.float64],
) -> Tensor:
    """New token ids [rows, steps], steps up to `max_new_tokens`; padded at the end.

    prompts: [rows] positions in `encoded`, rows of a prompt side by side. numbers: [rows,
    max_new_tokens], uniform.
    """
    pad_id, device = model.generation_config.pad_token_id, input_device(model)
    batch = pad_left(encoded, pad_id, device, prompts)
    rows = Counter(prompts)
    shared = None
    if len(set(rows.values())) == 1:  # but where the end of a halved batch is within a prompt
        once = pad_left(encoded, pad_id, device, list(rows))
        shared = _shared_prefill(model, once, rows[prompts[0]])
    own = torch.from_numpy(numbers).to(sampling_device(device))
    choose = Choose(sampling, own, batch.input_ids.shape[1])
    output = model.generate(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        past_key_values=shared,
        generation_config=model.generation_config,
        logits_processor=LogitsProcessorList([choose]),
    )
    choose.check()
    return torch.as_tensor(output)[:, batch.input_ids.shape[1] :]


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


def encode(
    model: Any, tokenizer: Any, prompts: Sequence[str], max_new_tokens: int
) -> list[list[int]]:
    """Token ids of the prompts as they are completed: no end token behind them.

    Raises UserError for a prompt that is empty or, with the new tokens, too long for the context.
    """
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


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
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


def _up_to_end(tokens: list[int], ends: Sequence[int]) -> list[int]:
    """What comes before the first end-of-sequence token; what follows it is padding."""
    length = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[:length]
