"""From reference sets to neuron scores, computed once and cached under their content."""

from collections.abc import Sequence
from pathlib import Path

from sparc.attribution.engine import Advance, Engine, ignore
from sparc.attribution.samples import ReferenceSet
from sparc.components.scores import Scores
from sparc.config import AttributionConfig
from sparc.models.model import Model


def attribute(
    model: Model,
    reference_sets: Sequence[ReferenceSet],
    config: AttributionConfig,
    cache: Path,
    advance: Advance = ignore,
) -> tuple[dict[tuple[str, int], Scores], bool]:
    """Scores of each reference set, keyed by (set, seed), and whether all came from the cache.

    With `config.shards` above 1 each set is made of that many parts; parts that are in the cache
    are read, the others computed. `advance(count)` is called as samples are done. Raises
    UserError where relevance is not finite or memory does not suffice.
    """
    engine = Engine(model, config, cache, advance)
    engine.announce(reference_sets)
    scores: dict[tuple[str, int], Scores] = {}
    all_cached = True
    for reference_set in reference_sets:
        value, cached = engine.scores(reference_set)
        scores[reference_set.name, reference_set.seed] = value
        all_cached = all_cached and cached
    return scores, all_cached


def attribute_shard(
    model: Model,
    reference_sets: Sequence[ReferenceSet],
    config: AttributionConfig,
    cache: Path,
    advance: Advance = ignore,
) -> list[int]:
    """Compute part `config.shard` of `config.shards` of each reference set: every K-th sample.

    Returns the shards that are still missing; with none missing, `attribute` merges the parts
    without computing anything.
    """
    shard = config.shard
    assert shard is not None
    engine = Engine(model, config, cache, advance)
    engine.announce(reference_sets, shard)
    unfinished = [each for each in reference_sets if not engine.has_scores(each)]
    for reference_set in unfinished:
        if shard < len(reference_set.token_ids):  # a later shard has no samples to compute
            engine.part(reference_set, shard)
    return [
        other
        for other in range(config.shards)
        if not all(
            engine.has_part(each, other) for each in unfinished if other < len(each.token_ids)
        )
    ]
