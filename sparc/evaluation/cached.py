"""The measurement cache: each is made once, under all that changes it, and shared by all jobs.

The baseline is the unpruned model's, an arm that of a model with neurons removed. A job that was
ended goes on after the last whole one.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save_file

from sparc.components.removal import removed
from sparc.components.selection import Selection
from sparc.evaluation.harness import accuracies
from sparc.evaluation.measure import Evaluation, Measurement, measure, measure_baseline
from sparc.evaluation.perplexity import TextNLL
from sparc.generation.inference import Advance
from sparc.generation.repetition import repetition
from sparc.storage.cache import fetch, forget, peek

_BASELINES, _ARMS = "baselines", "arms"
_TEXTS, _NUMBERS = "measurement.json", "measurement.safetensors"


def measured_baseline(
    evaluation: Evaluation, cache: Path, advance: Advance
) -> tuple[Measurement, bool]:
    """The baseline, and whether it was in the cache.

    With `evaluation.baseline=refresh` it is measured anew. Raises UserError for a model that does
    not model the texts at all.
    """

    def make() -> Measurement:
        return replace(measure_baseline(evaluation, advance), accuracies=_tasks(evaluation))

    return _from_cache(evaluation, cache, _BASELINES, evaluation.key, make, advance)


def measured_arm(
    evaluation: Evaluation,
    selection: Selection,
    cache: Path,
    advance: Advance,
    *,
    tasks: bool = False,
) -> tuple[Measurement, bool]:
    """The model without `selection`, and whether that was in the cache.

    With `tasks` also on those of lm-evaluation-harness. Measured anew where the baseline is.
    """
    key = {**evaluation.key, "removed": selection.digest, "on_failure": "stop", "tasks": tasks}
    if not tasks:
        del key["lm_eval"]
    if evaluation.config.on_failure == "count" and peek(cache, _ARMS, key, load=_load) is None:
        key["on_failure"] = "count"  # where nothing failed, what `stop` cached serves, too

    def make() -> Measurement:
        with removed(evaluation.model, selection):
            found = (
                accuracies(evaluation.model, evaluation.config.lm_eval, evaluation.asking)
                if tasks
                else {}
            )
            return replace(measure(evaluation, advance), accuracies=found)

    return _from_cache(evaluation, cache, _ARMS, key, make, advance)


def _tasks(evaluation: Evaluation) -> dict[str, Any]:
    return accuracies(evaluation.model, evaluation.config.lm_eval, evaluation.asking)


def _from_cache(
    evaluation: Evaluation,
    cache: Path,
    kind: str,
    key: Mapping[str, Any],
    make: Callable[[], Measurement],
    advance: Advance,
) -> tuple[Measurement, bool]:
    if evaluation.config.baseline == "refresh":
        forget(cache, kind, key)
    measurement, cached = fetch(
        cache, kind, key, load=_load, save=lambda folder: _save(make(), folder)
    )
    if cached:
        advance(evaluation.completions)
    return measurement, cached


def _save(measurement: Measurement, folder: Path) -> None:
    """Completions as JSON, numbers as safetensors under numbered names that the JSON explains."""
    numbers: dict[str, Any] = {}

    def named(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: named(each) for name, each in value.items()}
        if not isinstance(value, np.ndarray):
            return value
        name = f"n{len(numbers)}"
        numbers[name] = np.ascontiguousarray(value)
        return name

    described = {
        "texts": {name: named(vars(text)) for name, text in measurement.texts.items()},
        "scores": named(measurement.scores),
        "completions": dict(measurement.completions),
        "failed": dict(measurement.failed),
        "accuracies": named(measurement.accuracies),
    }
    save_file(numbers, folder / _NUMBERS)
    (folder / _TEXTS).write_text(json.dumps(described), encoding="utf-8")


def _load(folder: Path) -> Measurement:
    described = json.loads((folder / _TEXTS).read_text(encoding="utf-8"))
    numbers = load((folder / _NUMBERS).read_bytes())

    def found(names: Mapping[str, str]) -> dict[str, Any]:
        return {name: numbers[where] for name, where in names.items()}

    said = described["completions"]
    return Measurement(
        texts={
            name: TextNLL(**text | {part: numbers[text[part]] for part in ("nll", "tokens")})
            for name, text in described["texts"].items()
        },
        completions=said,
        scores={scorer: found(each) for scorer, each in described["scores"].items()},
        repetition={category: repetition(each) for category, each in said.items()},
        failed=described["failed"],
        accuracies=found(described["accuracies"]),
    )
