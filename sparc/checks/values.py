"""Which values each key of a configuration may take."""

from collections.abc import Iterator
from typing import Any

from sparc.config import Config

AHEAD = ("check", "prefetch", "clean")  # stages that run no job
MODES = ("cut", "whole", "prompt", "response", "response_cut")
SCORERS = ("detoxify", "classifier", "lexicon", "repetition")
RESERVED_PRUNING = ("weights_global", "weights_rowwise", "n_m", "heads")
CHOICES = {
    "stage": ("all", "attribute", "evaluate", "report", *AHEAD),
    "model.dtype": ("float32", "bfloat16", "float16", "float64"),
    "model.attn_implementation": ("sdpa", "eager"),
    "dataset.general.mode": MODES,
    "dataset.undesired.mode": MODES,
    "dataset.general.order": ("random", "first"),
    "dataset.undesired.order": ("random", "first"),
    "dataset.prompts.split_by": ("hash", "none"),
    "dataset.scorers": SCORERS,
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
    "evaluation.scorers": SCORERS,
    "pruning.method": ("neurons", "from_file", *RESERVED_PRUNING),
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
    "evaluation.perplexity.documents",
    "evaluation.perplexity.max_length",
    "evaluation.perplexity.stride",
    "evaluation.lm_eval.limit",
    "evaluation.lm_eval.batch_size",
    "evaluation.resamples",
    "evaluation.batch_tokens",
    "evaluation.perplexity.batch_tokens",
    "model.threads",
)
SEEDS = ("seed", "dataset.reference_seeds", "dataset.undesired.response.seed", "attribution.seed")
NOT_NEGATIVE = (  # where not null
    *SEEDS,
    "dataset.undesired.response.temperature",
    "attribution.checkpoint_seconds",
    "pruning.num_neurons",
    "evaluation.random_draws",
    "evaluation.sampling.temperature",
    "evaluation.sampling.top_k",
    "evaluation.lm_eval.num_fewshot",
    "evaluation.budget.perplexity",
    "evaluation.budget.loop_rate",
    "evaluation.budget.toxicity",
    "evaluation.budget.accuracy",
    "clean.older_than_days",
)
AT_MOST = {  # beyond, a process takes more threads, memory or time than any machine has
    "model.threads": 1024,
    "attribution.steps": 10_000,
    "attribution.shards": 10_000,
    "evaluation.random_draws": 10_000,
    "evaluation.resamples": 1_000_000,
    "tracking.finish_timeout": 3600,
}
UNIQUE = (
    "dataset.reference_seeds",
    "dataset.categories",
    "dataset.undesired.response.categories",
    "attribution.target.token_ids",
    "pruning.curve",
    "pruning.layers",
    "evaluation.scorers",
    "evaluation.lm_eval.tasks",
)


def _get(config: Config, key: str) -> object:
    value: object = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _listed(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def choices(config: Config) -> Iterator[str]:
    for key, allowed in CHOICES.items():
        for item in _listed(_get(config, key)):
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
        value = _get(config, key)
        if any(number < 0 for number in _listed(value)):
            yield f"{key}={value}: must not be negative"
    for key, most in AT_MOST.items():
        value = _get(config, key)
        if any(number > most for number in _listed(value)):
            yield f"{key}={value}: must be at most {most}"
    for key in UNIQUE:
        value = _get(config, key)
        if len(set(_listed(value))) < len(_listed(value)):
            yield f"{key}={value}: holds a value twice"
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
