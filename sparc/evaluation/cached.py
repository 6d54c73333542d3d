"""Measurements, each made once: kept under all that changes it, shared by all jobs.

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
from sparc.evaluation.measure import Advance, Bench, Measurement, measure, measure_baseline
from sparc.evaluation.perplexity import TextNLL
from sparc.generation.repetition import repetition
from sparc.storage.cache import fetch, forget, peek

_BASELINES, _ARMS = "baselines", "arms"
_TEXTS, _NUMBERS = "measurement.json", "measurement.safetensors"


def measured_baseline(bench: Bench, cache: Path, advance: Advance) -> tuple[Measurement, bool]:
    """The baseline, and whether it was in the cache.

    With `evaluation.baseline=refresh` it is measured anew. Raises UserError for a model that does
    not model the texts at all.
    """

    def make() -> Measurement:
        tasks = accuracies(bench.model, bench.config.lm_eval, bench.asking)
        return replace(measure_baseline(bench, advance), accuracies=tasks)

    return _kept(bench, cache, _BASELINES, bench.key, make, advance)


def measured_arm(
    bench: Bench, selection: Selection, cache: Path, advance: Advance, *, tasks: bool = False
) -> tuple[Measurement, bool]:
    """The model without `selection`, and whether that was in the cache.

    tasks: also those of lm-evaluation-harness. Measured anew where the baseline is.
    """
    key = {**bench.key, "removed": selection.digest, "on_failure": "stop", "tasks": tasks}
    if not tasks:
        del key["lm_eval"]
    if bench.config.on_failure == "count" and peek(cache, _ARMS, key, load=_load) is None:
        key["on_failure"] = "count"  # where nothing failed, what `stop` kept serves, too

    def make() -> Measurement:
        with removed(bench.model, selection):
            found = accuracies(bench.model, bench.config.lm_eval, bench.asking) if tasks else {}
            return replace(measure(bench, advance), accuracies=found)

    return _kept(bench, cache, _ARMS, key, make, advance)


def _kept(
    bench: Bench,
    cache: Path,
    kind: str,
    key: Mapping[str, Any],
    make: Callable[[], Measurement],
    advance: Advance,
) -> tuple[Measurement, bool]:
    if bench.config.baseline == "refresh":
        forget(cache, kind, key)
    measurement, cached = fetch(
        cache, kind, key, load=_load, save=lambda folder: _save(make(), folder)
    )
    if cached:
        advance(bench.completions)
    return measurement, cached


def _save(measurement: Measurement, folder: Path) -> None:
    """Completions as JSON, numbers as safetensors under numbered names that the JSON explains."""
    numbers: dict[str, Any] = {}

    def kept(values: Any) -> str:
        name = f"n{len(numbers)}"
        numbers[name] = np.ascontiguousarray(values)
        return name

    texts = {
        name: {
            "nll": kept(text.nll),
            "tokens": kept(text.tokens),
            "convention": text.convention,
            "unigram_perplexity": text.unigram_perplexity,
        }
        for name, text in measurement.texts.items()
    }
    scores = {
        scorer: {category: kept(values) for category, values in each.items()}
        for scorer, each in measurement.scores.items()
    }
    described = {
        "texts": texts,
        "scores": scores,
        "completions": dict(measurement.completions),
        "failed": dict(measurement.failed),
        "accuracies": {name: kept(values) for name, values in measurement.accuracies.items()},
    }
    save_file(numbers, folder / _NUMBERS)
    (folder / _TEXTS).write_text(json.dumps(described), encoding="utf-8")


def _load(folder: Path) -> Measurement:
    described = json.loads((folder / _TEXTS).read_text(encoding="utf-8"))
    numbers = load((folder / _NUMBERS).read_bytes())

    def named(names: Mapping[str, str]) -> dict[str, Any]:
        return {name: numbers[where] for name, where in names.items()}

    said = described["completions"]
    return Measurement(
        texts={
            name: TextNLL(
                numbers[text["nll"]],
                numbers[text["tokens"]],
                text["convention"],
                text["unigram_perplexity"],
            )
            for name, text in described["texts"].items()
        },
        completions=said,
        scores={scorer: named(each) for scorer, each in described["scores"].items()},
        repetition={category: repetition(each) for category, each in said.items()},
        failed=described["failed"],
        accuracies=named(described["accuracies"]),
    )
