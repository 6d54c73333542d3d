"""How well a ranking finds the neurons a behaviour is known to live in."""

from collections.abc import Sequence

import torch

from sparc.components.selection import Neuron


def localisation(score: torch.Tensor, truth: Sequence[Neuron]) -> dict[str, float | int]:
    """Recall and average precision of the ranking by ascending `score` [layers, neurons].

    recall: share of the truth among the N lowest, N = size of the truth (recall@N).
    average_precision: mean over true neurons of the precision at their rank; chance is about N
    over the number of neurons.
    """
    is_true = torch.zeros(score.shape, dtype=torch.bool)
    for layer, index in truth:
        is_true[layer, index] = True
    hits = is_true.flatten()[torch.argsort(score.flatten(), stable=True)].double()
    ranks = torch.arange(1, len(hits) + 1, dtype=torch.float64)
    precision = hits.cumsum(0) / ranks
    size = len(truth)
    return {
        "recall": float(hits[:size].sum() / size),
        "average_precision": float((precision * hits).sum() / size),
        "known_neurons": size,
        "chance": size / len(hits),
    }
