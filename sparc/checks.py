"""Impossible values in a configuration, found before anything is loaded."""

import json
from collections.abc import Iterator
from pathlib import Path

from sparc.config import Config
from sparc.errors import UserError
from sparc.families import family, neuron_grid
from sparc.locations import model_folder

CHOICES = {
    "stage": ("all", "attribute"),
    "model.dtype": ("float32", "bfloat16", "float16", "float64"),
    "model.attn_implementation": ("sdpa", "eager"),
    "dataset.general.mode": ("cut", "whole", "prompt"),
    "dataset.undesired.mode": ("cut", "whole", "prompt"),
    "dataset.primary_metric": ("mean", "rate", "expected_max", "probability"),
    "attribution.rules": ("attnlrp", "cp"),
    "attribution.reduction": ("signed", "abs_sample", "abs_weight"),
    "attribution.projection": ("up", "gate", "down", "hidden"),
    "attribution.target.kind": ("argmax", "tokens", "difference", "logprob"),
    "evaluation.split": ("validation", "held_out"),
    "evaluation.perplexity.convention": ("documents", "disjoint", "stride"),
    "evaluation.scorers": ("detoxify", "lexicon"),
}
POSITIVE = (
    "dataset.general.samples",
    "dataset.undesired.samples",
    "attribution.batch_tokens",
    "evaluation.prompts",
    "evaluation.sampling.samples",
    "evaluation.sampling.max_new_tokens",
    "evaluation.perplexity.documents",
    "evaluation.perplexity.stride",
    "evaluation.resamples",
    "evaluation.batch_tokens",
)
NOT_NEGATIVE = (
    "seed",
    "pruning.num_neurons",
    "evaluation.random_draws",
    "evaluation.sampling.temperature",
    "evaluation.sampling.top_k",
    "evaluation.budget.perplexity",
    "evaluation.budget.loop_rate",
    "evaluation.budget.toxicity",
)
RESERVED_PRUNING = ("weights_global", "weights_rowwise", "n_m", "heads")


def _get(config: Config, key: str) -> object:
    value: object = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _numbers(config: Config) -> Iterator[str]:
    for key in POSITIVE:
        if float(_get(config, key)) < 1:  # type: ignore[arg-type]
            yield f"{key}={_get(config, key)}: must be 1 or more"
    for key in NOT_NEGATIVE:
        if float(_get(config, key)) < 0:  # type: ignore[arg-type]
            yield f"{key}={_get(config, key)}: must not be negative"
    sampling = config.evaluation.sampling
    if not 0 < sampling.top_p <= 1:
        yield f"evaluation.sampling.top_p={sampling.top_p}: must be above 0 and at most 1"
    if not 0 <= config.evaluation.threshold <= 1:
        yield f"evaluation.threshold={config.evaluation.threshold}: must lie between 0 and 1"
    if sampling.temperature == 0 and sampling.samples > 1:
        yield (
            f"evaluation.sampling.samples={sampling.samples} with temperature=0: greedy decoding "
            "gives one completion; set evaluation.sampling.samples=1"
        )


def _choices(config: Config) -> Iterator[str]:
    for key, allowed in CHOICES.items():
        value = _get(config, key)
        for item in value if isinstance(value, list) else [value]:
            if item not in allowed:
                yield f"{key}={item}: must be one of {', '.join(allowed)}"
    if not config.evaluation.scorers:
        yield "evaluation.scorers=[]: name at least one; the first is the primary scorer"
    if not config.dataset.reference_seeds:
        yield "dataset.reference_seeds=[]: name at least one seed"


def _attribution(config: Config) -> Iterator[str]:
    attribution, target = config.attribution, config.attribution.target
    if attribution.projection == "hidden" and attribution.reduction == "abs_weight":
        yield (
            "attribution.reduction=abs_weight with attribution.projection=hidden: a hidden neuron "
            "has no weights; use projection=down or reduction=abs_sample"
        )
    needed = {"argmax": "none", "difference": "exactly two"}.get(target.kind, "at least one")
    count = len(target.token_ids)
    fits = {"none": count == 0, "exactly two": count == 2, "at least one": count >= 1}[needed]
    if not fits:
        yield (
            f"attribution.target.token_ids={target.token_ids} with kind={target.kind}: "
            f"give {needed}"
        )


def _pruning(config: Config) -> Iterator[str]:
    pruning = config.pruning
    if pruning.method in RESERVED_PRUNING:
        yield f"pruning={pruning.method}: reserved, not implemented yet; use pruning=neurons"
    if pruning.curve:
        yield "pruning.curve: reserved, not implemented yet; sweep pruning.num_neurons instead"
    file = Path(model_folder(config.model.path)) / "config.json"
    if not file.is_file():
        return
    stated = json.loads(file.read_text())
    family(stated.get("model_type", "?"))
    grid = neuron_grid(stated)
    if grid is None:
        return
    layers = range(grid[0]) if pruning.layers is None else pruning.layers
    wrong = [layer for layer in layers if not 0 <= layer < grid[0]]
    if wrong:
        yield f"pruning.layers={pruning.layers}: the model has layers 0 to {grid[0] - 1}"
    available = len(set(layers)) * grid[1]
    if pruning.num_neurons > available:
        yield f"pruning.num_neurons={pruning.num_neurons}: only {available} neurons to choose from"


def check(config: Config) -> None:
    """Raise UserError with the first impossible value or combination."""
    for checker in (_choices, _numbers, _attribution, _pruning):
        for complaint in checker(config):
            raise UserError(complaint)
    if config.dataset.undesired_category not in config.dataset.categories:
        raise UserError(
            f"dataset.undesired_category={config.dataset.undesired_category}: must be one of "
            f"dataset.categories={config.dataset.categories}"
        )
