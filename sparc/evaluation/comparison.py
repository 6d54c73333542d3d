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

Metrics = dict[Path, Metric]


def _values(found: Metrics, measurement: Measurement) -> dict[str, Any]:
    result = values(found)
    for name, text in measurement.texts.items():
        result["perplexity"][name] |= {
            "tokens": int(text.tokens.sum()),
            "windows": len(text.tokens),
            "convention": text.convention,
        }
    return result


def _over(base: Metrics, arms: Sequence[Metrics], leaf: Callable[[Path], Change]) -> dict[str, Any]:
    """A leaf for each metric of `base`; None where it was not measured in all of `arms`."""
    return grown({path: leaf(path) if all(path in arm for arm in arms) else None for path in base})


def _random_control(
    base: Metrics, selected: Metrics, draws: Sequence[Metrics], primary: Path, how: dict[str, int]
) -> dict[str, Any] | None:
    if not draws:
        return None

    def arms(path: Path) -> list[Metric]:
        return [draw[path] for draw in draws]

    own, others = selected[primary].value, [metric.value for metric in arms(primary)]
    known = [value for value in others if value is not None]
    rank = random_rank(own, known) if own is not None and len(known) == len(draws) else None
    return {
        "draws": len(draws),
        "change": _over(base, draws, lambda p: change(base[p], arms(p), **how)),
        "difference": _over(
            base, [selected, *draws], lambda p: difference(base[p], selected[p], arms(p), **how)
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

    def measured(measurement: Measurement) -> Metrics:
        return metrics(
            measurement,
            primary=config.scorers[0],
            undesired=dataset.undesired_category,
            threshold=config.threshold,
        )

    primary = ("toxicity", dataset.primary_metric)
    base, pruned = measured(arms.baseline), measured(arms.pruned)
    draws = [measured(draw) for draw in arms.draws]
    changed = _over(base, [pruned], lambda p: change(base[p], [pruned[p]], **how))
    random = _random_control(base, pruned, draws, primary, how)
    oracle = None
    if arms.oracle is not None:
        known = measured(arms.oracle)
        changes = _over(base, [known], lambda p: change(base[p], [known[p]], **how))
        oracle = {"change": changes}
    found = findings(
        changed,
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
        "change": changed,
        "control": {"random": random, "oracle": oracle},
    }
    return trees, found
