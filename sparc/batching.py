"""Batches of token sequences under a token budget: shared by attribution and evaluation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Batch:
    """Left-padded token sequences.

    `rows` are the sequences' positions in the caller's list; the tensors are [rows, length].
    The last column holds every row's last real token, so that one position serves all rows.
    """

    rows: list[int]
    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    position_ids: torch.Tensor


def token_budget(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Groups of indices, longest first, each of at most `batch_tokens` padded tokens.

    Every index stands in exactly one group; a sequence longer than the budget stands alone.
    Longest first, so that a batch that does not fit in memory fails at once.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    groups: list[list[int]] = []
    for index in order:
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= batch_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def pad_left(
    sequences: Sequence[Sequence[int]], pad_id: int, device: torch.device, rows: list[int]
) -> Batch:
    """The sequences of `rows` as one left-padded batch on `device`."""
    length = max(len(sequences[row]) for row in rows)
    input_ids = torch.full((len(rows), length), pad_id, dtype=torch.long)
    mask = torch.zeros_like(input_ids)
    for line, row in enumerate(rows):
        tokens = sequences[row]
        input_ids[line, length - len(tokens) :] = torch.tensor(tokens, dtype=torch.long)
        mask[line, length - len(tokens) :] = 1
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    return Batch(rows, input_ids.to(device), mask.to(device), positions.to(device))


def batches(
    sequences: Sequence[Sequence[int]], *, batch_tokens: int, pad_id: int, device: torch.device
) -> Iterator[Batch]:
    """Left-padded batches of at most `batch_tokens` padded tokens that cover all sequences."""
    for rows in token_budget([len(s) for s in sequences], batch_tokens):
        yield pad_left(sequences, pad_id, device, rows)
