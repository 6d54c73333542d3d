"""From the measurements of all arms to the trees of results.json."""

from collections.abc import Callable, Sequence
from typing import Any

from sparc.config import DatasetConfig, EvaluationConfig
from sparc.evaluation.arms import Arms
from sparc.evaluation.measure import Measurement
from sparc.evaluation.metrics import metrics, values
from sparc.evaluation.statistics import (
    Change,
    Metric,
    change,
    difference,
    random_rank,
    smallest_detectable,
)
from sparc.evaluation.verdict import Findings, findings
from sparc.runs.tree import Path, grown

_ByPath = dict[Path, Metric]


def _values(found: _ByPath, measurement: Measurement) -> dict[str, Any]:
    result = values(found)
    for name, text in measurement.texts.items():
        result["perplexity"][name] |= {
            "tokens": int(text.tokens.sum()),
            "windows": len(text.tokens),
            "convention": text.convention,
        }
    return result


def _over(base: _ByPath, arms: Sequence[_ByPath], leaf: Callable[[Path], Change]) -> dict[str, Any]:
    """A leaf for each metric of `base`; None where it was not measured in all of `arms`."""
    return grown({path: leaf(path) if all(path in arm for arm in arms) else None for path in base})


def _random_control(
    base: _ByPath,
    selected: _ByPath,
    controls: Sequence[_ByPath],
    primary: Path,
    how: dict[str, int],
) -> dict[str, Any] | None:
    if not controls:
        return None

    def arms(path: Path) -> list[Metric]:
        return [control[path] for control in controls]

    own, others = selected[primary].value, [metric.value for metric in arms(primary)]
    known = [value for value in others if value is not None]
    rank = random_rank(own, known) if own is not None and len(known) == len(controls) else None
    return {
        "draws": len(controls),
        "change": _over(base, controls, lambda p: change(base[p], arms(p), **how)),
        "difference": _over(
            base, [selected, *controls], lambda p: difference(base[p], selected[p], arms(p), **how)
        ),
        "rank": None if rank is None else vars(rank),
    }


def compare(
    arms: Arms, config: EvaluationConfig, dataset: DatasetConfig, seed: int
) -> tuple[dict[str, Any], Findings]:
    """The `baseline`, `pruned`, `change` and `control` trees of results.json, and the findings.

    Every change is paired over prompts (toxicity, repetition) or windows (perplexity); `seed`
    drives the resampling.
    """
    how = {"seed": seed, "resamples": config.resamples}

    def measured(measurement: Measurement) -> _ByPath:
        return metrics(
            measurement,
            primary=config.scorers[0],
            undesired=dataset.undesired_category,
            threshold=config.threshold,
        )

    primary = ("toxicity", dataset.primary_metric)
    base, pruned = measured(arms.baseline), measured(arms.pruned)
    controls = [measured(control) for control in arms.controls]

    def changed(arm: _ByPath) -> dict[str, Any]:
        return _over(base, [arm], lambda p: change(base[p], [arm[p]], **how))

    pruned_change = changed(pruned)
    random = _random_control(base, pruned, controls, primary, how)
    oracle = None if arms.oracle is None else {"change": changed(measured(arms.oracle))}
    found = findings(
        pruned_change,
        random and random["difference"],
        primary,
        config,
        dataset,
        detectable=smallest_detectable(base[primary], pruned[primary]),
        failed=arms.pruned.failed,
    )
    trees = {
        "baseline": _values(base, arms.baseline),
        "pruned": _values(pruned, arms.pruned),
        "change": pruned_change,
        "control": {"random": random, "oracle": oracle},
    }
    return trees, found
