"""Which method finds the planted neurons, and what removing the first ones does.

    python benchmarks/localisation.py            held-out prompts, every method, five models
    python benchmarks/localisation.py --rules    combined rules: chosen on two, shown on three
    python benchmarks/localisation.py --small    seconds; says nothing

The models are the benchmark variant of the embedded model (training seeds 0 to 4): all MLP
weights moved while the behaviour was planted, and norms do not give it away. They are built
first where they are missing, about five CPU minutes each. Nothing is tuned here: every method
runs with its own defaults on the same references.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import localisation_tables as tables
import measuring
import torch
from ground_truth import MEASURED, Subject, model_path, subject
from rules import RULES, VIEWS
from rules import mean as mean_contrast

from sparc.components.localisation import localisation
from sparc.components.neurons import neurons
from sparc.components.scores import held
from sparc.components.selection import Selection, lowest

METHODS = {
    "lrp": ("attribution=lrp",),
    "lrp, cp": ("attribution=lrp", "attribution.rules=cp"),
    "lrp, abs_weight": ("attribution=lrp", "attribution.reduction=abs_weight"),
    "gradient": ("attribution=gradient",),
    "integrated gradients": ("attribution=integrated_gradients",),
    "activation": ("attribution=activation",),
    "wanda": ("attribution=wanda",),
    "magnitude": ("attribution=magnitude",),
}
RANDOM_DRAWS = 3
AMOUNTS = (8, 16, 32, 63)
FEW = (2, 4, 8)
"""Amounts whose mean relative fall of the rude rate is a rule's effect per neuron."""

EVALUATION = (
    "dataset.categories=[rude,neutral]",
    "evaluation.prompts=40",
    "evaluation.sampling.samples=2",
)
SMALL = (
    "experiment=quick",
    "evaluation.prompts=3",
    "evaluation.sampling.max_new_tokens=4",
    "evaluation.perplexity.documents=4",
    "evaluation.scorers=[lexicon]",
    "dataset.general.samples=8",
    "dataset.undesired.samples=8",
)
Ranking = tuple[float, float, Selection]
"""Recall among as many neurons as were planted, average precision, and the lowest neurons."""


def ranking(score: torch.Tensor, model: Subject) -> Ranking:
    """How well an ascending score finds the planted neurons."""
    scores = held("neurons", neurons(model.model), score)
    found = localisation(scores, model.truth)
    return found["recall"], found["average_precision"], lowest(scores, max(AMOUNTS))


def row(rankings: Sequence[Ranking], model: Subject, amounts: Sequence[int]) -> dict[str, Any]:
    """One method on one model; the mean over `rankings` where there are several draws."""
    points = {n: [model.without(each[2].first(n)) for each in rankings] for n in amounts}
    return {
        "recall": mean(each[0] for each in rankings),
        "average precision": mean(each[1] for each in rankings),
        "points": {
            n: {name: mean(point[name] for point in each) for name in MEASURED}
            for n, each in points.items()
        },
    }


def oracle(model: Subject) -> dict[str, Any]:
    """Exactly the planted neurons."""
    points = {model.truth.count: dict(model.without(model.truth))}
    return {"recall": 1.0, "average precision": 1.0, "points": points}


def random_rankings(model: Subject) -> list[Ranking]:
    """Neurons in random order."""
    draws = [
        model.contrasts("attribution=random", f"attribution.seed={draw}")
        for draw in range(RANDOM_DRAWS)
    ]
    return [ranking(mean_contrast(each), model) for each in draws]


def measure_methods(
    model: Subject, methods: Mapping[str, Callable[[], torch.Tensor]], amounts: Sequence[int]
) -> dict[str, Any]:
    """Every method, the random order and the planted neurons on one model."""
    rows: dict[str, Any] = {}
    for name, score in methods.items():
        print(f"{model.model.source}: {name}", file=sys.stderr)
        rows[name] = row([ranking(score(), model)], model, amounts)
    rows["random"] = row(random_rankings(model), model, amounts)
    rows["oracle"] = oracle(model)
    return {"baseline": dict(model.baseline()), "chance": model.chance, "rows": rows}


def method_scores(
    model: Subject, methods: Mapping[str, Sequence[str]]
) -> dict[str, Callable[[], torch.Tensor]]:
    """Name -> function that gives the method's contrast over all reference seeds."""

    def score(overrides: Sequence[str]) -> torch.Tensor:
        return mean_contrast(model.contrasts(*overrides))

    return {name: partial(score, overrides) for name, overrides in methods.items()}


def run_methods(options: argparse.Namespace) -> dict[str, Any]:
    """Every method on every model, on held-out prompts."""
    found = {}
    for seed in options.seeds:
        model = opened(seed, options, "held_out")
        scores = method_scores(model, options.methods)
        found[str(seed)] = measure_methods(model, scores, AMOUNTS)
    print(tables.of_methods(found, AMOUNTS))
    return found


def run_rules(options: argparse.Namespace) -> dict[str, Any]:
    """Rules chosen on validation prompts of `choosing` models, shown on held-out ones of others."""
    amounts = sorted({*FEW, *AMOUNTS})
    chosen_on = {}
    for seed in options.choosing:
        model = opened(seed, options, "validation")
        scores = method_scores(model, options.methods) | rule_scores(model, options.rules)
        chosen_on[str(seed)] = measure_methods(model, scores, FEW)
    print(f"chosen on training seeds {list(chosen_on)}, validation prompts\n")
    print(tables.of_rules(chosen_on, FEW))
    best = tables.best_rule(chosen_on, list(options.rules), list(options.methods), FEW)
    print(f"\nchosen: {best}\n")
    shown = {}
    for seed in options.reporting:
        model = opened(seed, options, "held_out")
        scores = method_scores(model, options.methods) | rule_scores(model, [best])
        shown[str(seed)] = measure_methods(model, scores, amounts)
    print(f"shown on training seeds {list(shown)}, held-out prompts\n")
    print(tables.of_rules(shown, FEW))
    print()
    print(tables.of_methods(shown, AMOUNTS))
    return {"chosen_on": chosen_on, "chosen": best, "shown": shown}


def rule_scores(model: Subject, rules: Sequence[str]) -> dict[str, Callable[[], torch.Tensor]]:
    """Name -> function that gives the rule's score; every view is attributed once."""
    views = {name: model.contrasts(*overrides) for name, overrides in VIEWS.items()}
    return {name: partial(RULES[name], views) for name in rules}


def opened(seed: int, options: argparse.Namespace, split: str) -> Subject:
    """The model of a training seed; the shipped one where models are not asked for."""
    path = "embedded" if options.small else model_path(seed, options.models.resolve())
    overrides = (*EVALUATION, *(SMALL if options.small else ()), f"evaluation.split={split}")
    return subject(path, options.cache.resolve(), overrides)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rules", action="store_true", help="look for a rule that leads on both")
    parser.add_argument("--small", action="store_true", help="shipped model, few prompts")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--choosing", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--reporting", type=int, nargs="*", default=[2, 3, 4])
    parser.add_argument("--out", type=Path, default=measuring.OUTPUTS)
    parser.add_argument("--models", type=Path, help="where seed0, seed1, ... are kept")
    options = parser.parse_args(arguments)
    options.models = options.models or options.out / "models"
    options.cache = options.out / "cache"
    options.methods, options.search = METHODS, options.rules
    options.rules = list(RULES)
    if options.small:
        options.seeds, options.choosing, options.reporting = [0], [0], [1]
        options.methods = {name: METHODS[name] for name in ("lrp", "activation")}
        options.rules = list(RULES)[:2]
    return options


def main(arguments: Sequence[str]) -> None:
    """Run the benchmark and print its tables."""
    options = parse(arguments)
    torch.set_num_threads(1)  # two are no faster on so small a model
    name = "rules" if options.search else "localisation"
    found = run_rules(options) if options.search else run_methods(options)
    record = {"evaluation": [*EVALUATION, *(SMALL if options.small else ())], "found": found}
    measuring.write(name, record, options.out)


if __name__ == "__main__":
    main(sys.argv[1:])
