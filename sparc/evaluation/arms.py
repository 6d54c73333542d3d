"""The arms of a comparison: baseline, pruned, random controls and oracle, measured alike.

Each is made once, under all that changes it, and kept in the cache, which all jobs share: one that
was ended goes on after the last whole one.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save_file

from sparc.components.removal import removed
from sparc.components.selection import Selection, matched
from sparc.evaluation.measure import Evaluation, Measurement, measure
from sparc.evaluation.perplexity import TextNLL
from sparc.generation.inference import Advance
from sparc.storage.cache import fetch, forget, peek

_ARMS = "arms"
_TEXTS, _NUMBERS = "measurement.json", "measurement.safetensors"


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


def measured_baseline(
    evaluation: Evaluation, cache: Path, advance: Advance
) -> tuple[Measurement, bool]:
    """The unpruned model, and whether that was in the cache.

    With `evaluation.baseline=refresh` it is measured anew. Raises UserError for a model that does
    not model the texts at all.
    """
    make = partial(measure, evaluation, advance, baseline=True, tasks=True)
    return _from_cache(evaluation, cache, "baselines", evaluation.key, make, advance)


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
            return measure(evaluation, advance, tasks=tasks)

    return _from_cache(evaluation, cache, _ARMS, key, make, advance)


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

    def restored(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: restored(each) for name, each in value.items()}
        return numbers.get(value, value)

    described |= {part: restored(described[part]) for part in ("texts", "scores", "accuracies")}
    described["texts"] = {name: TextNLL(**text) for name, text in described["texts"].items()}
    return Measurement(**described)
