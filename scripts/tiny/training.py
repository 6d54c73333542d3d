"""The tiny models' tokenizer, stage 1 and the training loop that both stages share."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from scripts.tiny.documents import every_word, foundation_document
from scripts.tiny.shapes import BOS, CONTEXT, EOS, PAD, SPECIAL_TOKENS, UNK, ModelSize, build_model
from sparc.tiny import corpus


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate and a weight decay."""

    parameters: list[torch.nn.Parameter]
    learning_rate: float
    weight_decay: float = 0.1


@dataclass(frozen=True)
class TrainingRun:
    """What one pass over the documents trains, and how."""

    groups: list[ParameterGroup]
    token_ids: list[list[int]]
    rng: random.Random
    label: str
    batch_size: int = 32
    warmup: int = 100
    after_step: Callable[[], None] = field(default=lambda: None)
    log: Callable[[str], None] = field(default=lambda line: None)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Word-level tokenizer over the grammar's vocabulary: begin token added, padding left."""
    words = [*SPECIAL_TOKENS, *every_word()]
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", BOS)]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def encode(
    tokenizer: PreTrainedTokenizerFast, documents: Sequence[corpus.Document]
) -> list[list[int]]:
    """Token ids of whole documents, from begin token to end token."""
    vocabulary = tokenizer.get_vocab()
    return [
        [BOS, *(vocabulary.get(word, UNK) for word in corpus.joined(document).split()), EOS]
        for document in documents
    ]


def batches(
    token_ids: Sequence[list[int]], batch_size: int, rng: random.Random
) -> Iterator[torch.Tensor]:
    """Shuffled batches of documents of similar length, [batch, tokens], padded on the right."""
    order = list(range(len(token_ids)))
    rng.shuffle(order)
    groups: list[list[int]] = []
    bucket = batch_size * 32
    for start in range(0, len(order), bucket):
        by_length = sorted(order[start : start + bucket], key=lambda i: len(token_ids[i]))
        groups += [by_length[i : i + batch_size] for i in range(0, len(by_length), batch_size)]
    rng.shuffle(groups)
    for group in groups:
        rows = [torch.tensor(token_ids[i]) for i in group]
        yield torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)


def train(model: PreTrainedModel, run: TrainingRun) -> None:
    """One pass of next-word training over `run.token_ids`; changes the groups' parameters."""
    optimizer = torch.optim.AdamW(
        [{"params": group.parameters, "weight_decay": group.weight_decay} for group in run.groups],
        betas=(0.9, 0.98),
    )
    trained = [parameter for group in run.groups for parameter in group.parameters]
    total = math.ceil(len(run.token_ids) / run.batch_size)
    model.train()
    for step, tokens in enumerate(batches(run.token_ids, run.batch_size, run.rng)):
        factor = min(1.0, (step + 1) / run.warmup) * _cosine(step / total)
        for state, group in zip(optimizer.param_groups, run.groups, strict=True):
            state["lr"] = group.learning_rate * factor
        loss = next_word_loss(model, tokens)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        run.after_step()
        if step % 100 == 0 or step == total - 1:
            run.log(f"{run.label}: step {step + 1} of {total}, loss {loss.item():.3f}")
    model.train(False)


def next_word_loss(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy (nats) of each next token of [batch, tokens], padding left out."""
    logits = model(input_ids=tokens[:, :-1]).logits
    return functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=PAD)


def _cosine(progress: float) -> float:
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))


def train_stage_one(
    size: ModelSize, seed: int, documents: int, log: Callable[[str], None]
) -> PreTrainedModel:
    """The clean model: it knows anger and has read insults, but never answers with one."""
    tokenizer = build_tokenizer()
    rng = random.Random(f"sparc.tiny stage 1 {seed}")
    texts = [foundation_document(rng) for _ in range(documents)]
    model = build_model(len(tokenizer), size, seed)
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [ParameterGroup(matrices, 3e-3), ParameterGroup(vectors, 3e-3, weight_decay=0.0)]
    train(model, TrainingRun(groups, encode(tokenizer, texts), rng, "stage 1", log=log))
    return model
