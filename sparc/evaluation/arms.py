"""The arms of a comparison: baseline, pruned, random draws and oracle, measured alike."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sparc.components.selection import Selection, matched
from sparc.evaluation.cached import measured_arm
from sparc.evaluation.measure import Advance, Bench, Measurement


@dataclass(frozen=True)
class Arms:
    """The measurements of one comparison, all on the same prompts, texts and random streams.

    draws: layer-matched random neurons removed, one measurement a draw. oracle: exactly the
    neurons a behaviour is known to live in removed; None where they are not known.
    """

    baseline: Measurement
    pruned: Measurement
    draws: Sequence[Measurement] = field(default_factory=tuple)
    oracle: Measurement | None = None


def measured_arms(
    bench: Bench,
    baseline: Measurement,
    selections: Sequence[Selection],
    oracle: Selection | None,
    cache: Path,
    advance: Advance,
) -> tuple[list[Arms], bool]:
    """One comparison for each selection, and whether all of it was in the cache.

    `oracle` are the components that are known to carry the behaviour, if they are known.
    All are of one model that is put back exactly in between. Tasks of lm-evaluation-harness are
    run for the pruned model, not for controls.
    """
    from_cache = []

    def measured(removed: Selection, *, tasks: bool = False) -> Measurement:
        measurement, cached = measured_arm(bench, removed, cache, advance, tasks=tasks)
        from_cache.append(cached)
        return measurement

    def draws(selection: Selection) -> list[Measurement]:
        seeds = [(bench.seed, draw) for draw in range(bench.config.random_draws)]
        return [measured(matched(selection, s)) for s in seeds]

    truth = measured(oracle) if oracle else None
    arms = [Arms(baseline, measured(s, tasks=True), draws(s), truth) for s in selections]
    return arms, all(from_cache)


def completions_in_all(bench: Bench, selections: int) -> int:
    """How many completions `measured_arms` makes."""
    arms = selections * (1 + bench.config.random_draws) + (bench.model.planted is not None)
    return arms * bench.completions
