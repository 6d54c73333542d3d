"""The arms of a comparison: baseline, pruned, random draws and oracle, measured alike."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sparc.evaluation.harness import accuracies
from sparc.evaluation.measure import Advance, Bench, Measurement, measure
from sparc.pruning.removal import removed
from sparc.pruning.selection import Neuron, layer_matched


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


def measure_arms(
    bench: Bench,
    baseline: Measurement,
    selections: Sequence[Sequence[Neuron]],
    advance: Advance,
) -> list[Arms]:
    """One comparison for each selection, from one model that is put back exactly in between.

    Tasks of lm-evaluation-harness are run for the pruned model, not for controls.
    """
    model = bench.model

    def measured(neurons: Sequence[Neuron]) -> Measurement:
        with removed(model, neurons):
            return measure(bench, advance)

    def pruned(neurons: Sequence[Neuron]) -> Measurement:
        with removed(model, neurons):
            tasks = accuracies(model, bench.config.lm_eval)
            return replace(measure(bench, advance), accuracies=tasks)

    def draws(neurons: Sequence[Neuron]) -> list[Measurement]:
        seeds = [(bench.seed, draw) for draw in range(bench.config.random_draws)]
        return [measured(layer_matched(neurons, model.neurons_per_layer, s)) for s in seeds]

    oracle = measured(model.planted) if model.planted else None
    return [Arms(baseline, pruned(each), draws(each), oracle) for each in selections]


def completions_in_all(bench: Bench, selections: int) -> int:
    """How many completions `measure_arms` makes."""
    arms = selections * (1 + bench.config.random_draws) + (bench.model.planted is not None)
    return arms * bench.completions
