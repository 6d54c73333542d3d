"""Windows of tokens for perplexity: three named conventions, each token predicted at most once.

The conventions differ in how much context a token is predicted from, so their numbers must not be
compared with each other:

- ``documents``: each text alone, with the special tokens its tokenizer adds.
- ``disjoint``: texts joined by an empty line, cut into windows of `max_length` (the tables of the
  pruning literature: GPTQ, SparseGPT, Wanda). What is left after the last whole window is dropped,
  as there; a text shorter than one window is scored as it is.
- ``stride``: windows of `max_length` that advance by `stride`; only tokens that no earlier window
  scored are scored, so all but the very first token are predicted exactly once.

The first token of a window has nothing to be predicted from and is never counted. The tokenizer
sees a text once, so a begin-of-sequence token leads only the first window, as in those tables.
Families that break without it (Gemma) need `bos_every_window`: then it leads each window, takes
one of its `max_length` places, and every token of the text is predicted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sparc.config.evaluation import CONVENTIONS
from sparc.errors import UserError


@dataclass(frozen=True)
class Window:
    """Token ids of one forward pass; the first `context` of them are read, not predicted."""

    ids: list[int]
    context: int

    @property
    def predicted(self) -> list[int]:
        return self.ids[self.context :]


def text_windows(
    tokenizer: Any,
    texts: Sequence[str],
    *,
    convention: str,
    max_length: int,
    stride: int,
    append_eos: bool = False,
    bos_every_window: bool = False,
) -> list[Window]:
    """Cut texts into windows that predict at least one token each; arguments as `text_nll`."""
    if convention not in CONVENTIONS:
        raise UserError(f"unknown perplexity convention '{convention}'; use one of {CONVENTIONS}")
    if max_length < 2:
        raise UserError(f"max_length is {max_length}; perplexity windows need at least 2 tokens")
    if convention == "stride" and not 1 <= stride < max_length:
        raise UserError(f"stride is {stride}; it must lie between 1 and max_length - 1")
    bos = _special(tokenizer, "bos", "bos_every_window") if bos_every_window else None
    if convention == "documents":
        eos = [_special(tokenizer, "eos", "append_eos")] if append_eos else []
        documents = [
            ids if ids[-1:] == eos else ids + eos for ids in (_encode(tokenizer, t) for t in texts)
        ]
        windows = [w for ids in documents for w in _cut(ids, max_length, None, bos)]
    else:
        step = stride if convention == "stride" else None
        windows = _cut(_encode(tokenizer, "\n\n".join(texts)), max_length, step, bos)
        if step is None and len(windows) > 1 and len(windows[-1].ids) < max_length:
            windows.pop()
    windows = [window for window in windows if window.predicted]
    if not windows:
        raise UserError("no token to predict in the texts for perplexity; give longer texts")
    return windows


def _encode(tokenizer: Any, text: str) -> list[int]:
    # not verbose: a whole text is longer than the model's context, which is no mistake here
    return list(tokenizer(text, truncation=False, verbose=False)["input_ids"])


def _special(tokenizer: Any, kind: str, setting: str) -> int:
    token = getattr(tokenizer, f"{kind}_token_id")
    if token is None:
        raise UserError(f"the tokenizer has no {kind} token; set {setting}=false")
    return int(token)


def _cut(ids: list[int], max_length: int, step: int | None, bos: int | None) -> list[Window]:
    """Windows of `max_length` that advance by `step` (None: by their length), led by `bos`."""
    lead = [] if bos is None else [bos]
    body = ids[1:] if lead and ids[:1] == lead else ids
    size = max_length - len(lead)
    windows: list[Window] = []
    scored = 0
    for begin in range(0, len(body), step or size):
        end = min(begin + size, len(body))
        context = max(1, len(lead) + scored - begin)
        windows.append(Window(lead + body[begin:end], context))
        scored = end
        if end == len(body):
            break
    return windows
