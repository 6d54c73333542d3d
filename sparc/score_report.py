"""What the scores look like, so that a user can see when they should not be trusted."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import torch

from sparc.datasets import GENERAL, UNDESIRED
from sparc.pruning.contrast import contrast
from sparc.pruning.selection import lowest
from sparc.scores import Scores

ScoreSets = Mapping[tuple[str, int], Scores]


def _of(scores: ScoreSets, name: str) -> list[Scores]:
    return [value for (each, _), value in sorted(scores.items()) if each == name]


def score_contrast(scores: ScoreSets) -> torch.Tensor:
    """The contrast [layers, neurons] over all reference seeds."""
    return contrast(_of(scores, GENERAL), _of(scores, UNDESIRED))


def _summary(name: str, seed: int, scores: Scores) -> dict[str, Any]:
    values = scores.values
    return {
        "set": name,
        "seed": seed,
        "samples": scores.samples,
        "total": float(values.sum()) * scores.samples,
        "per_sample": float(values.sum()),
        "min": float(values.min()),
        "max": float(values.max()),
        "share_zero": float((values == 0).double().mean()),
        "share_negative": float((values < 0).double().mean()),
        "layers": values.shape[0],
        "neurons_per_layer": values.shape[1],
    }


def _variation(totals: Sequence[float]) -> float | None:
    """Coefficient of variation: standard deviation over |mean| of the seeds' totals."""
    if len(totals) < 2:
        return None
    values = torch.tensor(totals, dtype=torch.float64)
    mean = float(values.mean().abs())
    return float(values.std()) / mean if mean else None


def _seed_overlap(scores: ScoreSets, count: int) -> float | None:
    """Mean share of the `count` lowest neurons that two reference seeds have in common."""
    seeds = sorted({seed for _, seed in scores})
    if len(seeds) < 2 or count == 0:
        return None
    chosen = [
        set(lowest(contrast([scores[GENERAL, seed]], [scores[UNDESIRED, seed]]), count))
        for seed in seeds
    ]
    shares = [len(a & b) / count for a, b in combinations(chosen, 2)]
    return sum(shares) / len(shares)


def score_report(scores: ScoreSets, num_neurons: int) -> dict[str, Any]:
    """Totals and extremes of each set and seed, and how far the reference seeds agree.

    `warnings` names what should make a user look twice: seeds that choose different neurons
    (overlap below one half) and sets whose totals differ more than fivefold.
    """
    sets = [_summary(name, seed, value) for (name, seed), value in sorted(scores.items())]
    totals = {
        name: [entry["per_sample"] for entry in sets if entry["set"] == name]
        for name in (GENERAL, UNDESIRED)
    }
    overlap = _seed_overlap(scores, num_neurons)
    means = {name: abs(sum(values) / len(values)) for name, values in totals.items()}
    warnings = []
    if overlap is not None and overlap < 0.5:
        warnings.append(f"reference seeds share only {overlap:.0%} of the selected neurons")
    if min(means.values()) * 5 < max(means.values()):
        warnings.append(
            f"total relevance differs more than fivefold: general {means[GENERAL]:.3g}, "
            f"undesired {means[UNDESIRED]:.3g}"
        )
    return {
        "sets": sets,
        "variation_over_seeds": {name: _variation(values) for name, values in totals.items()},
        "seed_overlap": overlap,
        "warnings": warnings,
    }
