"""The arms of a comparison: baseline, pruned, random controls and oracle, measured alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sparc.components.selection import Selection, matched
from sparc.evaluation.cached import measured_arm
from sparc.evaluation.measure import Evaluation, Measurement
from sparc.generation.inference import Advance


@dataclass(frozen=True)
class Arms:
    """The measurements of one comparison, all on the same prompts, texts and random streams."""

    baseline: Measurement
    pruned: Measurement
    controls: Sequence[Measurement] = ()
    """One for each random control: as many neurons of the same layers removed."""
    oracle: Measurement | None = None
    """Exactly the neurons a behaviour is known to live in removed; None where unknown."""


def measured_arms(
    evaluation: Evaluation,
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
        measurement, cached = measured_arm(evaluation, removed, cache, advance, tasks=tasks)
        from_cache.append(cached)
        return measurement

    def controls(selection: Selection) -> list[Measurement]:
        seeds = [(evaluation.seed, number) for number in range(evaluation.config.random_draws)]
        return [measured(matched(selection, s)) for s in seeds]

    truth = measured(oracle) if oracle else None
    arms = [Arms(baseline, measured(s, tasks=True), controls(s), truth) for s in selections]
    return arms, all(from_cache)


def completions_in_all(evaluation: Evaluation, selections: int) -> int:
    """How many completions `measured_arms` makes."""
    oracles = int(evaluation.model.planted is not None)
    arms = selections * (1 + evaluation.config.random_draws) + oracles
    return arms * evaluation.completions
