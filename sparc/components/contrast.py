"""The contrast of two reference sets: which neurons serve the undesired behaviour most."""

from collections.abc import Sequence

import torch

from sparc.components.scores import Scores


def mean_scores(scores: Sequence[Scores]) -> torch.Tensor:
    """[layers, neurons] mean over reference seeds, each seed's set weighing the same."""
    return torch.stack([score.values for score in scores]).mean(0)


def contrast(general: Sequence[Scores], undesired: Sequence[Scores]) -> torch.Tensor:
    """R_diff = mean R_general - mean R_undesired (SparC3, Eq. 7), [layers, neurons].

    The most negative neurons carry the undesired behaviour and matter least to general text.
    """
    return mean_scores(general) - mean_scores(undesired)
