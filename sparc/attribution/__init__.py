"""From reference sets to neuron scores, computed once and cached under their content."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.utils import get_method

from sparc.attribution.accumulate import accumulate
from sparc.cache import fetch
from sparc.config import AttributionConfig
from sparc.models import Model
from sparc.references import ReferenceSet
from sparc.scores import Scores, load_scores, save_scores

FORMULA_VERSION = 1
"""Raised when a formula changes, so that scores of an older one are not read."""


def score_key(
    model: Model, reference_set: ReferenceSet, config: AttributionConfig
) -> dict[str, Any]:
    """All that changes the scores of a reference set, and nothing else."""
    return {
        "model": model.fingerprint,
        "dtype": str(model.network.dtype),
        "references": reference_set.fingerprint,
        "method": config.name,
        "rules": config.rules,
        "target": {"kind": config.target.kind, "token_ids": list(config.target.token_ids)},
        "reduction": config.reduction,
        "projection": config.projection,
        "formula": FORMULA_VERSION,
    }


def attribute(
    model: Model,
    reference_sets: Sequence[ReferenceSet],
    config: AttributionConfig,
    cache: Path,
    advance: Callable[[int], None] = lambda _count: None,
) -> tuple[dict[tuple[str, int], Scores], bool]:
    """Scores of each reference set, keyed by (set, seed), and whether all came from the cache.

    `advance(count)` is called as samples are done.
    """
    method_of = get_method(config._target_)
    scores: dict[tuple[str, int], Scores] = {}
    all_cached = True
    for reference_set in reference_sets:

        def save(folder: Path, chosen: ReferenceSet = reference_set) -> None:
            with method_of(model, config) as method:
                computed = accumulate(
                    model,
                    method,
                    chosen.token_ids,
                    batch_tokens=config.batch_tokens,
                    advance=advance,
                )
            save_scores(computed, folder)

        value, cached = fetch(
            cache,
            "scores",
            score_key(model, reference_set, config),
            load=lambda folder: load_scores(folder, (len(model.blocks), model.neurons_per_layer)),
            save=save,
        )
        if cached:
            advance(len(reference_set.token_ids))
        scores[reference_set.name, reference_set.seed] = value
        all_cached = all_cached and cached
    return scores, all_cached
