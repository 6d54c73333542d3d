"""Impossible values in a configuration, found before anything is loaded."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sparc.config import Config, PruningConfig
from sparc.errors import UserError
from sparc.families import family, neuron_grid
from sparc.locations import model_folder
from sparc.methods import attribution_complaints

CHOICES = {
    "stage": ("all", "attribute", "report"),
    "model.dtype": ("float32", "bfloat16", "float16", "float64"),
    "model.attn_implementation": ("sdpa", "eager"),
    "dataset.general.mode": ("cut", "whole", "prompt"),
    "dataset.undesired.mode": ("cut", "whole", "prompt"),
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
POSITIVE = (
    "dataset.general.samples",
    "dataset.undesired.samples",
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


def _json(path: Path) -> Any:
    """The content of a JSON file; None where it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _run(config: Config) -> Iterator[str]:
    if config.stage != "report":
        return
    if config.run is None:
        yield "stage=report needs a finished run: add run=outputs/runs/..."
    elif "verdict" not in (_json(Path(config.run) / "results.json") or {}):
        yield f"run={config.run}: holds no finished results.json; give a finished run's directory"


def _model(config: Config) -> Iterator[str]:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", config.device):
        yield f"device={config.device}: must be auto, cpu, mps, cuda or cuda:N"
    threads = config.model.threads
    if threads is not None and threads < 1:
        yield f"model.threads={threads}: must be 1 or more, or null for torch's own choice"


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


def _pruning(config: Config) -> Iterator[str]:
    pruning = config.pruning
    if pruning.method == "from_file":
        if pruning.path is None:
            yield "pruning.path is not set: add pruning.path=, a neurons.json or a run directory"
        elif not Path(pruning.path).exists():
            yield f"pruning.path={pruning.path}: no such neurons.json or run directory"
    if pruning.method != "from_file" and pruning.path is not None:
        yield f"pruning.path={pruning.path}: pruning={pruning.method} reads none; use from_file"
    if pruning.method in RESERVED_PRUNING:
        yield f"pruning={pruning.method}: reserved, not implemented yet; use pruning=neurons"
    if any(amount < 0 for amount in pruning.curve):
        yield f"pruning.curve={pruning.curve}: must not hold negative numbers"
    if pruning.curve and pruning.method == "from_file":
        yield "pruning.curve: a saved selection is one amount; leave pruning.curve out"
    file = Path(model_folder(config.model.path)) / "config.json"
    if not file.is_file():
        return
    stated = _json(file)
    if not isinstance(stated, dict):
        yield f"model.path={config.model.path}: its config.json is not readable JSON"
        return
    row, grid = family(stated.get("model_type", "?")), neuron_grid(stated)
    if config.attribution.projection == "gate" and row.gate is None:
        yield "attribution.projection=gate: this model's MLP has no gate; use projection=up"
    if grid is not None:
        yield from amount_complaints(pruning, *grid)


def amount_complaints(pruning: PruningConfig, num_layers: int, neurons: int) -> Iterator[str]:
    """What a model of `num_layers` layers of `neurons` neurons each cannot give."""
    layers = range(num_layers) if pruning.layers is None else pruning.layers
    wrong = [layer for layer in layers if not 0 <= layer < num_layers]
    if wrong:
        yield f"pruning.layers={pruning.layers}: the model has layers 0 to {num_layers - 1}"
    available = len(set(layers)) * neurons
    if pruning.num_neurons > available:
        yield f"pruning.num_neurons={pruning.num_neurons}: only {available} neurons to choose from"
    if any(amount > available for amount in pruning.curve):
        yield f"pruning.curve={pruning.curve}: only {available} neurons to choose from"


def _dataset(config: Config) -> Iterator[str]:
    dataset = config.dataset
    for key in ("undesired_category", "neutral_category"):
        category = getattr(dataset, key)
        if category is not None and category not in dataset.categories:
            yield (
                f"dataset.{key}={category}: must be one of dataset.categories={dataset.categories}"
            )
    if not 0 < dataset.uniqueness < 1:
        yield f"dataset.uniqueness={dataset.uniqueness}: must lie between 0 and 1"


def _evaluation(config: Config) -> Iterator[str]:
    evaluation = config.evaluation
    if evaluation.split == "attribution" and not evaluation.in_sample:
        yield (
            "evaluation.split=attribution: these prompts are attributed; add "
            "evaluation.in_sample=true, which marks every number as in-sample"
        )
    documents = evaluation.perplexity.documents
    if documents is not None and documents < 1:
        yield f"evaluation.perplexity.documents={documents}: must be 1 or more, or null for all"
    if len(set(evaluation.scorers)) < len(evaluation.scorers):
        yield f"evaluation.scorers={evaluation.scorers}: names a scorer twice"
    if "classifier" in evaluation.scorers and evaluation.classifier.path is None:
        yield "evaluation.classifier.path is not set: name a sequence classifier (hub id or folder)"
    tasks = evaluation.lm_eval
    if tasks.include_path is not None and not Path(tasks.include_path).is_dir():
        yield f"evaluation.lm_eval.include_path={tasks.include_path}: no such folder"


def _tracking(config: Config) -> Iterator[str]:
    tracking = config.tracking
    if not 0 < tracking.init_timeout <= 20:
        yield f"tracking.init_timeout={tracking.init_timeout:g}: must be above 0 and at most 20"
    if not tracking.finish_timeout > 0:
        yield f"tracking.finish_timeout={tracking.finish_timeout:g}: must be above 0"


def check(config: Config) -> None:
    """Raise UserError with the first impossible value or combination."""
    checkers = (
        _run,
        _model,
        _choices,
        _numbers,
        _dataset,
        attribution_complaints,
        _pruning,
        _evaluation,
        _tracking,
    )
    for checker in checkers:
        for complaint in checker(config):
            raise UserError(complaint)


def check_model(config: Config, num_layers: int, neurons: int, vocabulary: int) -> None:
    """Raise UserError for what a loaded model cannot give, before anything expensive starts."""
    for complaint in amount_complaints(config.pruning, num_layers, neurons):
        raise UserError(complaint)
    beyond = [token for token in config.attribution.target.token_ids if token >= vocabulary]
    if beyond:
        raise UserError(
            f"attribution.target.token_ids: {beyond} are not among the model's {vocabulary} tokens"
        )
