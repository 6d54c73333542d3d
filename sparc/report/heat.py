"""Token-level relevance and neuron cards, as the page shows them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparc.display.plain import visible

_STEPS = 5
_EXPLAINED = {
    "argmax": "the logit of the most likely next token",
    "tokens": "the sum of the logits of the chosen tokens, as next ones",
    "difference": "the difference between the logits of two chosen tokens, as next ones",
    "logprob": "the log-probability of the chosen tokens, as next ones",
}
_BARE: Mapping[str, Any] = {
    "scores": [],
    "undesired": [],
    "general": [],
    "promoted": [],
    "suppressed": [],
}


@dataclass(frozen=True)
class HeatToken:
    """A token, its relevance and the shade (-5 to 5) that shows it."""

    text: str
    relevance: str
    shade: int


@dataclass(frozen=True)
class HeatLine:
    """A text coloured by one kind of relevance; `strongest` tells the same in words."""

    label: str
    tokens: list[HeatToken]
    strongest: str


@dataclass(frozen=True)
class ReferenceText:
    """A reference text coloured twice: by input relevance and by that of the removed neurons."""

    set: str
    seed: int
    position: int
    cut: bool
    next_token: str
    lines: list[HeatLine]


def heat_line(
    label: str, tokens: Sequence[str], relevance: Sequence[float], largest: float
) -> HeatLine:
    """Shades by the square root of |relevance| / `largest`, so that weaker tokens show too."""
    shown = [visible(token) for token in tokens]
    order = sorted(range(len(shown)), key=lambda i: -abs(relevance[i]))[:3]
    return HeatLine(
        label=f"{label}, {_number(sum(relevance))} in all",
        tokens=[
            HeatToken(token, _number(value), _shade(value, largest))
            for token, value in zip(shown, relevance, strict=True)
        ],
        strongest="; ".join(
            f"\u201c{shown[i].strip()}\u201d {_number(relevance[i])}" for i in order
        ),
    )


def _shade(value: float, largest: float) -> int:
    depth = round(_STEPS * math.sqrt(abs(value) / largest)) if largest else 0
    return -depth if value < 0 else depth


def _number(value: float | None) -> str:
    # a selection read from a file has no scores
    return "\u2013" if value is None else f"{value:.3g}".replace("-", "\u2212")


def _reference_text(text: Mapping[str, Any]) -> ReferenceText:
    # one scale for both lines: what the removed neurons do is seen against the whole
    largest = max((abs(value) for value in (*text["inputs"], *text["removed"])), default=0.0)
    return ReferenceText(
        set=text["set"],
        seed=text["seed"],
        position=text["position"],
        cut=text["cut"],
        next_token=visible(text["next_token"]),
        lines=[
            heat_line("input tokens", text["tokens"], text["inputs"], largest),
            heat_line("removed neurons", text["tokens"], text["removed"], largest),
        ],
    )


def relevance_note(attribution: Mapping[str, Any]) -> str:
    """What is explained, by which relevance, and whether that is what ranked the neurons.

    attribution: the settings of that group; {} where they are not known.
    """
    kind = (attribution.get("target") or {}).get("kind", "argmax")
    return f"Explained is {_EXPLAINED.get(kind, visible(kind))}. {_relevance(attribution)}"


def _relevance(attribution: Mapping[str, Any]) -> str:
    name, reduction = attribution.get("name"), attribution.get("reduction", "signed")
    shown = {"attnlrp": "LRP (AttnLRP)", "cp": "LRP (CP-LRP)"}.get(attribution.get("rules", ""), "")
    if name != "lrp" or not shown:
        shown = "gradient \u00d7 input"
    if name not in ("lrp", "gradient"):
        ranked = visible(str(name or "another method"))
        return (
            f"The neurons were ranked by {ranked}, which is not computed token by token. "
            f"Shown here is {shown}; it did not choose them."
        )
    if reduction != "signed":
        return (
            f"The neurons were ranked by absolute relevance ({visible(reduction)}). Shown here is "
            f"signed {shown}: what cancels out did count there."
        )
    return f"Shown is {shown}, by which the neurons were ranked, too."


def reference_texts(explained: Mapping[str, Any]) -> list[ReferenceText]:
    """The texts of explanations.json, ready to be shown."""
    return [_reference_text(text) for text in explained.get("texts", [])]


def neuron_cards(neurons: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The records of neurons.json ready to be shown, in their order; bare where they have no card.

    Keys: rank, layer, index, score, sets [(name, [scores by seed])], contexts [(set, [context])],
    promoted and suppressed (tokens).
    """
    return [_card(rank, record) for rank, record in enumerate(neurons, 1)]


def _card(rank: int, record: Mapping[str, Any]) -> dict[str, Any]:
    card = record.get("card", _BARE)
    sets: dict[str, list[str]] = {}
    for entry in card["scores"]:
        sets.setdefault(entry["set"], []).append(_number(entry["score"]))
    contexts = [
        (name, [_context(entry) for entry in card[name]])
        for name in ("undesired", "general")
        if card[name]
    ]
    return {
        "rank": rank,
        "layer": record["layer"],
        "index": record["index"],
        "score": _number(record.get("score")),
        "sets": list(sets.items()),
        "contexts": contexts,
        "promoted": [visible(token) for token in card["promoted"]],
        "suppressed": [visible(token) for token in card["suppressed"]],
    }


def _context(entry: Mapping[str, Any]) -> dict[str, str]:
    return {
        "before": visible(entry["before"]),
        "token": visible(entry["token"]),
        "relevance": _number(entry["relevance"]),
    }
