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
from sparc.generation.completing import token_ids


@dataclass(frozen=True)
class Window:
    """Token ids of one forward pass; the first `context` of them are read, not predicted."""

    ids: list[int]
    context: int

    @property
    def predicted(self) -> list[int]:
        return self.ids[self.context :]


@dataclass(frozen=True)
class WindowSettings:
    """How texts are cut into windows."""

    convention: str
    max_length: int
    stride: int = 1
    """Of ``stride`` alone."""
    append_eos: bool = False
    """Of ``documents`` alone: each ends with the end-of-sequence token, which is predicted, too."""
    bos_every_window: bool = False


def text_windows(tokenizer: Any, texts: Sequence[str], how: WindowSettings) -> list[Window]:
    """Cut texts into windows that predict at least one token each.

    Raises UserError for impossible settings, and for texts without a token to predict.
    """
    convention, most = how.convention, how.max_length
    if convention not in CONVENTIONS:
        raise UserError(f"unknown perplexity convention '{convention}'; use one of {CONVENTIONS}")
    if most < 2:
        raise UserError(f"max_length is {most}; perplexity windows need at least 2 tokens")
    if convention == "stride" and not 1 <= how.stride < most:
        raise UserError(f"stride is {how.stride}; it must lie between 1 and max_length - 1")
    bos = [_special(tokenizer, "bos", "bos_every_window")] if how.bos_every_window else []
    if convention == "documents":
        eos = [_special(tokenizer, "eos", "append_eos")] if how.append_eos else []
        documents = [token_ids(tokenizer, text) for text in texts]
        ended = [ids if ids[-1:] == eos else ids + eos for ids in documents]
        windows = [window for ids in ended for window in _cut(ids, most, None, bos)]
    else:
        step = how.stride if convention == "stride" else None
        windows = _cut(token_ids(tokenizer, "\n\n".join(texts)), most, step, bos)
        if step is None and len(windows) > 1 and len(windows[-1].ids) < most:
            windows.pop()
    windows = [window for window in windows if window.predicted]
    if not windows:
        raise UserError("no token to predict in the texts for perplexity; give longer texts")
    return windows


def _special(tokenizer: Any, kind: str, setting: str) -> int:
    token = getattr(tokenizer, f"{kind}_token_id")
    if token is None:
        raise UserError(f"the tokenizer has no {kind} token; set {setting}=false")
    return int(token)


def _cut(ids: list[int], max_length: int, step: int | None, bos: list[int]) -> list[Window]:
    """Windows of `max_length` that advance by `step` (None: by their length), led by `bos`."""
    body = ids[1:] if bos and ids[:1] == bos else ids
    size = max_length - len(bos)
    step = step or size
    return [
        Window(bos + body[begin : begin + size], max(1, len(bos) + (size - step if begin else 0)))
        for begin in range(0, max(len(body) - size, 0) + step, step)
    ]
