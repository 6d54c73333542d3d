"""Which values each key of a configuration may take."""

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from sparc.config import Config

AHEAD = ("check", "prefetch", "clean")  # stages that run no job
MODES = ("cut", "whole", "prompt", "response", "response_cut")
CHOICES = {
    "stage": ("all", "attribute", "evaluate", "report", *AHEAD),
    "model.dtype": ("float32", "bfloat16", "float16", "float64"),
    "model.attn_implementation": ("sdpa", "eager"),
    "dataset.general.mode": MODES,
    "dataset.undesired.mode": MODES,
    "dataset.general.order": ("random", "first"),
    "dataset.undesired.order": ("random", "first"),
    "dataset.prompts.split_by": ("hash", "none"),
    "dataset.primary_metric": ("mean", "rate", "expected_max", "probability"),
    "attribution.rules": ("attnlrp", "cp"),
    "attribution.reduction": ("signed", "abs_sample", "abs_weight"),
    "attribution.projection": ("up", "gate", "down", "hidden"),
    "attribution.target.kind": ("argmax", "tokens", "difference", "logprob"),
    "attribution.nonfinite": ("stop", "skip"),
    "evaluation.split": ("attribution", "validation", "held_out"),
    "evaluation.on_failure": ("stop", "count"),
    "evaluation.baseline": ("auto", "refresh"),
    "evaluation.perplexity.convention": ("documents", "disjoint", "stride"),
    "evaluation.scorers": ("detoxify", "classifier", "lexicon", "repetition"),
    "tracking.name": ("none", "wandb"),
    "tracking.mode": ("online", "offline", "disabled"),
}
_SETS = ("general", "undesired")
POSITIVE = (  # where not null
    "dataset.general.samples",
    "dataset.undesired.samples",
    *(f"dataset.{n}.{key}" for n in _SETS for key in ("seq_len", "max_words", "buffer")),
    "dataset.undesired.response.samples",
    "dataset.undesired.response.max_new_tokens",
    "dataset.undesired.response.max_candidates",
    "attribution.batch_tokens",
    "attribution.steps",
    "attribution.shards",
    "evaluation.prompts",
    "evaluation.sampling.samples",
    "evaluation.sampling.max_new_tokens",
    "evaluation.perplexity.stride",
    "evaluation.resamples",
    "evaluation.batch_tokens",
    "evaluation.perplexity.batch_tokens",
)
NOT_NEGATIVE = (
    "seed",
    "dataset.undesired.response.temperature",
    "dataset.undesired.response.seed",
    "attribution.checkpoint_seconds",
    "attribution.seed",
    "pruning.num_neurons",
    "evaluation.random_draws",
    "evaluation.sampling.temperature",
    "evaluation.sampling.top_k",
    "evaluation.budget.perplexity",
    "evaluation.budget.loop_rate",
    "evaluation.budget.toxicity",
    "evaluation.budget.accuracy",
    "clean.older_than_days",
)


def _get(config: Config, key: str) -> object:
    value: object = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def not_finite(config: Config) -> Iterator[str]:
    """Every number of the configuration that is none, or infinite."""
    for key, value in _leaves("", config):
        if isinstance(value, float) and not math.isfinite(value):
            yield f"{key}={value}: must be a finite number"


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Dotted key and value of everything below `value`."""
    if is_dataclass(value):
        for each in fields(value):
            yield from _leaves(f"{key}.{each.name}".lstrip("."), getattr(value, each.name))
    elif isinstance(value, dict | list):
        for place in value if isinstance(value, dict) else range(len(value)):
            yield from _leaves(f"{key}.{place}", value[place])
    else:
        yield key, value


def choices(config: Config) -> Iterator[str]:
    for key, allowed in CHOICES.items():
        value = _get(config, key)
        for item in value if isinstance(value, list) else [value]:
            if item not in allowed:
                yield f"{key}={item}: must be one of {', '.join(allowed)}"
    if not config.evaluation.scorers:
        yield "evaluation.scorers=[]: name at least one; the first is the primary scorer"
    if not config.dataset.reference_seeds:
        yield "dataset.reference_seeds=[]: name at least one seed"


def numbers(config: Config) -> Iterator[str]:
    for key in POSITIVE:
        value = _get(config, key)
        if value is not None and float(value) < 1:  # type: ignore[arg-type]
            yield f"{key}={value}: must be 1 or more"
    for key in NOT_NEGATIVE:
        if float(_get(config, key)) < 0:  # type: ignore[arg-type]
            yield f"{key}={_get(config, key)}: must not be negative"
    prompts = config.dataset.prompts
    if not prompts.neutral_to < prompts.undesired_from:
        yield (
            f"dataset.prompts.neutral_to={prompts.neutral_to}: must be below "
            f"dataset.prompts.undesired_from={prompts.undesired_from}"
        )
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
