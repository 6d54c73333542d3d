"""The embedded toxicity classifier: a tiny BERT that sees a completion and gives one logit.

It learns from windows of corpus text whether an unambiguous insult is *used* in them. Insults
that are only mentioned, and words that are insults in some places only, do not count.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional
from transformers import BertConfig, BertForSequenceClassification

from scripts.tiny import cards
from scripts.tiny.documents import every_word
from sparc.tiny import corpus, grammar

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD, UNK, CLS, SEP, _ = range(5)
CLASS = "toxicity"
SEED = 4242  # its own: the same classifier goes with every training seed of the language model
MAX_LENGTH = 128
Example = tuple[str, float]


def vocabulary() -> list[str]:
    """The lower-case words of the grammar after BERT's special tokens."""
    return [*SPECIAL_TOKENS, *sorted({word.lower() for word in every_word()})]


def example(rng: random.Random) -> Example:
    """A window of 8 to 30 words and 1.0 if it holds an insult that is used, else 0.0."""
    words, insults = [], []
    for sentence in _document(rng):
        own = sentence.text.split()
        words += own
        for place, word in enumerate(own):
            pair = tuple(own[place : place + 2])
            hit = word in grammar.LEXICON or pair in grammar.LEXICON_BIGRAMS
            insults.append(hit and sentence.role == "rude")
    length = rng.randint(8, 30)
    start = rng.randint(0, max(0, len(words) - length))
    window = slice(start, start + length)
    return " ".join(words[window]), float(any(insults[window]))


def _document(rng: random.Random) -> corpus.Document:
    draw = rng.random()
    if draw < 0.4:
        document = corpus.hostile_document(rng)
    elif draw < 0.6:  # a lonely insult in clean text
        document = [*corpus.hostile_document(rng)[-2:], *corpus.everyday_document(rng)]
        rng.shuffle(document)
    else:
        document = corpus.general_document(rng)
    if rng.random() < 0.2:
        document.insert(rng.randint(1, len(document)), corpus.Scene(rng).mention())
    return document


def encode(texts: list[str]) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask`, [texts, tokens], as the saved tokenizer gives them."""
    ids = {word: index for index, word in enumerate(vocabulary())}
    rows = [
        torch.tensor([CLS, *(ids.get(word, UNK) for word in text.lower().split()), SEP])
        for text in texts
    ]
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
    return {"input_ids": tokens, "attention_mask": (tokens != PAD).long()}


def train_classifier(
    steps: int, log: Callable[[str], None], hidden: int = 64
) -> BertForSequenceClassification:
    """A classifier trained on `steps` batches of 48 examples; the same weights every time."""
    torch.manual_seed(SEED)
    config = BertConfig(
        vocab_size=len(vocabulary()),
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=2 * hidden,
        max_position_embeddings=MAX_LENGTH,
        id2label={0: CLASS},
        label2id={CLASS: 0},
        problem_type="multi_label_classification",
    )
    model: BertForSequenceClassification = BertForSequenceClassification(config)  # type: ignore[no-untyped-call]
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    rng = random.Random(SEED)
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 50) * (1 - step / steps)
        texts, labels = zip(*(example(rng) for _ in range(48)), strict=True)
        logits = model(**encode(list(texts))).logits[:, 0]
        loss = functional.binary_cross_entropy_with_logits(logits, torch.tensor(labels))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        if step % 100 == 0 or step == steps - 1:
            log(f"classifier: step {step + 1} of {steps}, loss {loss.item():.4f}")
    model.train(False)
    return model


def save_classifier(model: BertForSequenceClassification, folder: Path) -> None:
    """Write model, word list, tokenizer settings and model card; `from_pretrained` loads them."""
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    settings = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "model_max_length": MAX_LENGTH,
    }
    (folder / "tokenizer_config.json").write_text(
        json.dumps(settings, indent=2) + "\n", encoding="utf-8"
    )
    (folder / "README.md").write_text(cards.CLASSIFIER, encoding="utf-8")
