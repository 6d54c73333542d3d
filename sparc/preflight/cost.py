"""What a run will take, by counting: operations, passes through the model, memory.

Attribution is counted by `sparc.attribution.memory`; here are the search for references,
evaluation and the way from counts to seconds. Scorers, statistics and the report are not counted.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from sparc.attribution.memory import estimate
from sparc.config import GENERAL, UNDESIRED, Config, DatasetConfig, answers, settings_of
from sparc.config.methods import DATA_FREE, FORWARD_ONLY
from sparc.generation.sampling import LOGITS_AT_ONCE
from sparc.models.model import Model
from sparc.preflight.machine import Speed
from sparc.tasks.dataset import Dataset
from sparc.tasks.repetition import candidates

_REPETITION, _NEW_TOKENS = "sparc.tasks.repetition.repetition", 50
_CALLS = 80  # operations that one decoder layer takes forward in transformers, modules included
_LOGITS = 2**24  # that perplexity holds at a time, once as they are and once as probabilities
# Where the data cannot be read yet: tokens a word, of a prompt, and words of a text as they
# commonly are; tokens of a row and of all rows of WikiText-2's test split.
_TOKENS_A_WORD, _PROMPT_TOKENS, _TEXT_WORDS, _ROW, _ROWS = 1.3, 20, 300, 65, 290_000
_TOGETHER = 64  # responses that are sampled together


@dataclass(frozen=True)
class Amounts:
    """How much there is to be read, in tokens.

    references: of each sample of all sets. prompts: of each prompt. texts: for perplexity in all.
    """

    references: list[int]
    prompts: list[int]
    texts: int


@dataclass(frozen=True)
class Work:
    """flops: floating-point operations. passes: times that all layers are gone through one after
    the other, forward or backward. reads: how often all weights are read."""

    flops: float
    passes: float
    reads: float

    def seconds(self, model: Model, speed: Speed) -> float:
        """On one device: the slower of counting and reading, and the calls in between."""
        busy = max(self.flops / speed.flops, self.reads * weight_bytes(model) / speed.bandwidth)
        return busy + self.passes * len(model.blocks) * _CALLS * speed.call


def amounts(config: Config, dataset: Dataset | None, context: int) -> Amounts:
    """What is to be read: counted where the data set can be read here, else what is common."""
    assumed = _assumed(config, context)
    if dataset is None or not dataset.prompts:
        return assumed
    references = assumed.references
    saved = [settings_of(config.dataset, name).from_run for name in (GENERAL, UNDESIRED)]
    if dataset.on_model is None and saved == [None, None]:
        references = [
            len(each.token_ids) if each.token_ids else _tokens(each.text)
            for seed in config.dataset.reference_seeds
            for name in (GENERAL, UNDESIRED)
            for each in dataset.references(name, seed)
        ]
    prompts = [_tokens(text) for texts in dataset.prompts.values() for text in texts]
    texts = sum(_tokens(text) for each in dataset.texts.values() for text in each)
    return Amounts([min(each, context) for each in references], prompts, texts)


def _tokens(text: str) -> int:
    """About as many tokens as a subword tokenizer makes: one a word or mark, and some more."""
    return 1 + round(1.1 * len(re.findall(r"\w+|[^\w\s]", text)))


def _assumed(config: Config, context: int) -> Amounts:
    """Lengths as they commonly are. The first prompts of a file are the same for each seed."""
    data, evaluation = config.dataset, config.evaluation
    seeds = len(data.reference_seeds)
    fixed = data.undesired.order == "first" and not _responding(data, UNDESIRED)
    references = _lengths(data, GENERAL, context) * seeds
    references += _lengths(data, UNDESIRED, context) * (1 if fixed else seeds)
    prompts = [_PROMPT_TOKENS] * (evaluation.prompts * len(data.categories))
    own, rows = data.texts, evaluation.perplexity.documents
    named = [each for each in (own.general, own.benign, own.undesired) if each.path]
    texts = _ROWS if rows is None else rows * _ROW
    return Amounts(references, prompts, texts * max(1, len(named) + len(own.others)))


def _lengths(data: DatasetConfig, name: str, context: int) -> list[int]:
    """Tokens of the references of one set; those that are cut end anywhere, as often here as there.

    With responses the general set is half texts.
    """
    each, new = settings_of(data, name), _response_tokens(data)
    responding = _responding(data, name)
    responses = each.samples if responding else 0
    if responding and name == GENERAL and (each.path or data._target_ != _REPETITION):
        responses = each.samples // 2
    texts = each.samples - responses
    if each.path is None or each.mode == "prompt":
        long = _PROMPT_TOKENS
    else:
        long = each.seq_len or round(_TOKENS_A_WORD * (each.max_words or _TEXT_WORDS))
    long, cut = min(context, long), each.mode in ("cut", "response_cut")
    ends = [max(1, long * (i + 1) // texts) if cut else long for i in range(texts)]
    said = 0 if each.mode == "prompt" else new // 2 if cut else new
    return ends + [min(context, _PROMPT_TOKENS + said)] * responses


def _responding(data: DatasetConfig, name: str) -> bool:
    """Whether a set holds responses of the model; those about repetition always do."""
    each = settings_of(data, name)
    return answers(each) or (data._target_ == _REPETITION and each.from_run is None)


def _response_tokens(data: DatasetConfig) -> int:
    return _NEW_TOKENS if data._target_ == _REPETITION else data.undesired.response.max_new_tokens


def search_work(model: Model, config: Config) -> tuple[int, Work]:
    """The most responses that are sampled to find references, and the operations of it."""
    data, response = config.dataset, config.dataset.undesired.response
    given = config.pruning.method == "from_file" and config.stage != "attribute"
    if data._target_ == _REPETITION:  # every candidate, to see which of them loop
        count = len(candidates())
    elif answers(data.undesired) and not given:
        count = response.max_candidates * len(data.reference_seeds)
    else:
        return 0, Work(0, 0, 0)
    tokens = _response_tokens(data)
    parameters = sum(value.numel() for value in model.network.parameters())
    steps = count / _TOGETHER * tokens
    return count, Work(2.0 * parameters * count * (_PROMPT_TOKENS + tokens), steps, steps)


def weight_bytes(model: Model) -> int:
    """Of all parameters and buffers in the model's dtype."""
    tensors: Iterable[Any] = (*model.network.parameters(), *model.network.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def attribution_work(model: Model, needed: Amounts, config: Config) -> tuple[Work, int]:
    """Operations of attributing all reference samples, and bytes above the model's weights."""
    settings = config.attribution
    unread = config.pruning.method == "from_file" or settings.name in DATA_FREE
    if unread or not needed.references:
        return Work(0, 0, 0), 0
    counted = estimate(model, needed.references, settings)
    steps = settings.steps if settings.name == "integrated_gradients" else 1
    passes = counted.batches * steps * (1 if settings.name in FORWARD_ONLY else 3)
    # its seconds at one operation a second: products, padding and what else there is
    return Work(counted.seconds(1.0), passes, passes), counted.bytes


def evaluation_work(model: Model, needed: Amounts, config: Config) -> tuple[Work, int]:
    """Operations of measuring all arms, and bytes above the model's weights.

    A token takes 2 operations a parameter. A completion's prompt is read once for all samples of
    it; then each step reads all weights once for a batch.
    """
    evaluation, sampling = config.evaluation, config.evaluation.sampling
    kept = set(config.pruning.curve) | {config.pruning.num_neurons}
    arms = 1 + len(kept) * (1 + evaluation.random_draws) + bool(model.planted)
    rows = len(needed.prompts) * sampling.samples
    longest = max(needed.prompts, default=0) + sampling.max_new_tokens
    batches = math.ceil(rows * longest / evaluation.batch_tokens)
    steps = batches * (sampling.max_new_tokens + 1)

    perplexity = evaluation.perplexity
    again = 1.0
    if perplexity.convention == "stride":
        again = max(1.0, (perplexity.max_length or model.max_length) / perplexity.stride)
    read = again * needed.texts
    forward = math.ceil(read / perplexity.batch_tokens)
    parameters = sum(value.numel() for value in model.network.parameters())
    tokens = sum(needed.prompts) + rows * sampling.max_new_tokens + read
    passes = arms * (steps + forward)
    work = Work(2.0 * parameters * tokens * arms, passes, passes)
    together = math.ceil(min(rows * longest, evaluation.batch_tokens))
    return work, _evaluation_bytes(model, together, max(1, together // max(1, longest)), config)


def _evaluation_bytes(model: Model, tokens: int, rows: int, config: Config) -> int:
    """Keys and values of a batch of `tokens` tokens in `rows` rows, its logits, and one layer."""
    network: Any = model.network.config
    item = torch.finfo(model.network.dtype).bits // 8
    heads = network.num_attention_heads
    width = getattr(network, "head_dim", None) or network.hidden_size // heads
    cache = 2 * width * (getattr(network, "num_key_value_heads", None) or heads)
    layer = 6 * network.hidden_size + 3 * model.neurons_per_layer
    logits = rows * network.vocab_size  # as the model gives them and in float32
    drawn = (item + 4) * logits + 35 * min(LOGITS_AT_ONCE, logits)
    generation = tokens * (len(model.blocks) * cache + layer) * item + drawn
    read = config.evaluation.perplexity.batch_tokens
    reading = read * layer * item + 8 * min(_LOGITS, read * network.vocab_size)
    return int(max(generation, reading))
