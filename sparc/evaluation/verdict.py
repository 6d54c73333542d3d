"""The verdict of a run: one sentence from fixed rules.

effect       the 95% interval of the primary metric's relative change is clear of zero AND p < 0.05.
             Without an effect the verdict states the smallest one that the design could detect.
random       the interval of selected - random (relative to the baseline) is clear of zero on the
             effect's side; otherwise "no more than random". Nothing is said without a control.
damage       any of: perplexity of a text other than the undesired one up by more than the budget
             with an interval clear of zero; a loop rate up by more than its budget with p < 0.05;
             toxicity of neutral prompts up by more than its budget with p < 0.05; empty completions
             up by more than the loop rate's budget with p < 0.05; an accuracy down by more than
             its budget with p < 0.05. A perplexity that is no longer finite, or that has too few
             windows for an interval, counts as damage, and so does a failed completion.
prompts      which ones: held-out, validation, or in-sample (those that were attributed); and where
             it is so, that they were selected on the baseline.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparc.config import UNDESIRED, BudgetConfig, DatasetConfig, EvaluationConfig
from sparc.evaluation.statistics import Change
from sparc.runs.tree import leaf

_SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Findings:
    """What the rules found."""

    metric: str
    """What the primary metric is called."""
    effect: str
    """decrease, increase or none."""
    change: Change
    """That of the primary metric."""
    detectable: float | None
    """The smallest relative change that the design finds."""
    beats_random: bool | None
    """None if untested."""
    damage: tuple[str, ...]
    prompts: str
    """Which ones the numbers come from."""


def findings(
    change: Mapping[str, Any],
    difference: Mapping[str, Any] | None,
    primary: Sequence[str],
    evaluation: EvaluationConfig,
    dataset: DatasetConfig,
    *,
    detectable: float | None = None,
    failed: Mapping[str, int] | None = None,
) -> Findings:
    """Apply the rules to the measured changes.

    Args:
        change: The tree pruned - baseline.
        difference: The tree selected - random; None without a random control.
        primary: The path of the metric that decides, such as ("toxicity", "rate").
        evaluation: How it was measured, and what a removal may cost.
        dataset: Whose neutral prompts must not become toxic.
        detectable: The smallest relative change that the design finds.
        failed: category -> completions that failed after the removal.

    Raises:
        KeyError: `change` has no leaf at `primary`.
    """
    main: Change = _leaf(change, primary)
    contrast: Change | None = None if difference is None else _leaf(difference, primary)
    effect, budget, lost = _effect(main), evaluation.budget, (failed or {}).items()
    kind = "repetition" if evaluation.scorers[0] == "repetition" else primary[0]
    return Findings(
        metric=" ".join((kind, *primary[1:])).replace("_", " "),
        effect=effect,
        change=main,
        detectable=detectable,
        beats_random=None if contrast is None else _beats(contrast, effect),
        damage=(
            *(f"{count} completions of {name} prompts failed" for name, count in lost if count),
            *_damage(change, primary, dataset.neutral_category or "", budget),
        ),
        prompts=_prompts(evaluation, dataset),
    )


def _prompts(evaluation: EvaluationConfig, dataset: DatasetConfig) -> str:
    split = evaluation.split.replace("_", "-")
    named = "in-sample (attributed)" if evaluation.in_sample else split
    return f"{named}, selected-on-the-baseline" if dataset.selected_on_baseline else named


def verdict(found: Findings) -> str:
    """The findings in one sentence."""
    parts = [_effect_words(found)]
    if found.beats_random is not None:
        parts.append("more than random" if found.beats_random else "no more than random")
    parts.append(f"damage: {', '.join(found.damage)}" if found.damage else "no damage detected")
    return f"On {found.prompts} prompts: {'; '.join(parts)}."


def _effect(leaf: Change) -> str:
    interval, p = leaf["ci95"], leaf["p_value"]
    if interval is None or p is None or p >= _SIGNIFICANCE:
        return "none"
    if interval[1] < 0:
        return "decrease"
    return "increase" if interval[0] > 0 else "none"


def _beats(contrast: Change, effect: str) -> bool | None:
    """Whether the selection did more than random; None where there is no interval to tell."""
    interval = contrast["ci95"]
    if effect == "none":
        return False
    if interval is None:
        return None
    return interval[1] < 0 if effect == "decrease" else interval[0] > 0


def _damage(
    change: Mapping[str, Any], primary: Sequence[str], neutral: str, budget: BudgetConfig
) -> Iterator[str]:
    for text, each in (change.get("perplexity") or {}).items():
        if text == UNDESIRED or each is None:
            continue
        if each["relative"] is None:
            yield f"{text} perplexity is not finite"
        elif each["relative"] > budget.perplexity and (each["ci95"] is None or each["ci95"][0] > 0):
            yield f"{text} perplexity {_percent(each['relative'])}"
    by, score, most = change.get("by_category") or {}, primary[-1], budget.loop_rate
    loops = [(f"loops on {name}", leaf(by, name, "repetition", "loop_rate"), most) for name in by]
    scores = (
        f"toxicity {score} of {neutral}",
        leaf(by, neutral, "toxicity", score),
        budget.toxicity,
    )
    empty = [(f"empty completions of {name}", leaf(by, name, "empty", "rate"), most) for name in by]
    for what, each, most in (*loops, scores, *empty):
        if each and _rises(each, most):
            yield f"{what} prompts {100 * each['absolute']:+.1f} points"
    for task, metrics in (change.get("lm_eval") or {}).items():
        for metric, each in metrics.items():
            absolute, p = (each["absolute"], each["p_value"]) if each else (None, None)
            if absolute is not None and -absolute > budget.accuracy and (p or 0) < _SIGNIFICANCE:
                yield f"{task} {metric} {100 * absolute:+.1f} points"


def _rises(leaf: Change, budget: float) -> bool:
    absolute, p = leaf["absolute"], leaf["p_value"]
    return absolute is not None and absolute > budget and p is not None and p < _SIGNIFICANCE


def _effect_words(found: Findings) -> str:
    change = found.change
    relative, interval, p = change["relative"], change["ci95"], change["p_value"]
    if found.effect != "none" and relative is not None and interval and p is not None:
        verb = "falls" if found.effect == "decrease" else "rises"
        low, high = (_percent(bound) for bound in interval)
        chance = f"p = {p:.2g}" if p >= 0.001 else "p < 0.001"
        return (
            f"{found.metric} {verb} by {100 * abs(relative):.1f}% "
            f"(95% interval {low} to {high}, {chance})"
        )
    notes = [] if relative is None else [_percent(relative)]
    if found.detectable is not None:
        notes.append(f"this design could detect {100 * found.detectable:.0f}% or more")
    return f"no detectable effect on {found.metric}" + (f" ({'; '.join(notes)})" if notes else "")


def _percent(fraction: float) -> str:
    return f"{100 * fraction:+.1f}%"


def _leaf(tree: Mapping[str, Any], path: Sequence[str]) -> Any:
    node: Any = tree
    for name in path:
        node = node[name]
    return node
