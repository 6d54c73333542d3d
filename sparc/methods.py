"""Which options each attribution method uses, and which do not go together.

No torch here, so that the configuration can be checked before anything heavy is imported.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from sparc.config import AttributionConfig, Config

_GRADIENT = ("target", "reduction", "projection")
ALL_OPTIONS = ("rules", *_GRADIENT, "steps", "seed")
# Which of them change the scores of which method; a method of another name uses all of them.
METHOD_OPTIONS = {
    "lrp": ("rules", *_GRADIENT),
    "gradient": _GRADIENT,
    "integrated_gradients": (*_GRADIENT, "steps"),
    "activation": (),
    "wanda": ("projection",),
    "magnitude": ("projection",),
    "random": ("seed",),
}
DATA_FREE = ("magnitude", "random")
FORWARD_ONLY = ("activation", "wanda")


def method_options(config: AttributionConfig) -> dict[str, Any]:
    """The options that change the method's scores, as plain JSON-able data."""
    values = asdict(config)
    return {name: values[name] for name in METHOD_OPTIONS.get(config.name, ALL_OPTIONS)}


def attribution_complaints(config: Config) -> Iterator[str]:
    """What cannot be in `config.attribution`, one line each."""
    attribution, target = config.attribution, config.attribution.target
    yield from _unused_options(attribution)
    if attribution.name in ("wanda", "magnitude") and attribution.projection == "hidden":
        yield (
            f"attribution.projection=hidden with attribution={attribution.name}: a hidden neuron "
            "has no weights; use attribution.projection=up or down"
        )
    if attribution.name == "integrated_gradients" and attribution.reduction == "abs_weight":
        yield (
            "attribution.reduction=abs_weight with attribution=integrated_gradients: the path is "
            "not kept weight by weight; use reduction=signed or abs_sample"
        )
    if attribution.projection == "hidden" and attribution.reduction == "abs_weight":
        yield (
            "attribution.reduction=abs_weight with attribution.projection=hidden: a hidden neuron "
            "has no weights; use projection=down or reduction=abs_sample"
        )
    needed = {"argmax": "none", "difference": "exactly two"}.get(target.kind, "at least one")
    count = len(target.token_ids)
    fits = {"none": count == 0, "exactly two": count == 2, "at least one": count >= 1}[needed]
    if any(token < 0 for token in target.token_ids):
        yield f"attribution.target.token_ids={target.token_ids}: must not hold negative numbers"
    if not fits:
        yield (
            f"attribution.target.token_ids={target.token_ids} with kind={target.kind}: "
            f"give {needed}"
        )
    yield from _shard(config)


def _unused_options(attribution: AttributionConfig) -> Iterator[str]:
    used = METHOD_OPTIONS.get(attribution.name, ALL_OPTIONS)
    given, defaults = asdict(attribution), asdict(AttributionConfig())
    for name in ALL_OPTIONS:
        if name not in used and given[name] != defaults[name]:
            yield f"attribution.{name}: not used by attribution={attribution.name}; leave it out"


def _shard(config: Config) -> Iterator[str]:
    attribution = config.attribution
    if attribution.shard is not None:
        if attribution.name in DATA_FREE:
            yield f"attribution.shard: attribution={attribution.name} reads no samples to share"
        if not 0 <= attribution.shard < attribution.shards:
            yield (
                f"attribution.shard={attribution.shard}: must lie between 0 and "
                f"attribution.shards - 1 = {attribution.shards - 1}"
            )
        if config.stage != "attribute":
            yield "attribution.shard: computes only a part of the scores; add stage=attribute"
