"""Selection rules that combine what several scores see.

A rule turns contrasts into one score [layers, neurons], lowest first as everywhere. Contrasts of
different methods have different units, so each is divided by its own standard deviation first.
"""

from collections.abc import Callable, Mapping, Sequence

import torch

Contrasts = Mapping[str, Sequence[torch.Tensor]]
"""View -> the contrast [layers, neurons] of each reference seed, float64."""

VIEWS = {
    "lrp": ("attribution=lrp",),
    "gradient": ("attribution=gradient",),
    "activation": ("attribution=activation",),
    "lrp prompt": (
        "attribution=lrp",
        "dataset.general.mode=prompt",
        "dataset.undesired.mode=prompt",
    ),
    "lrp whole": (
        "attribution=lrp",
        "dataset.general.mode=whole",
        "dataset.undesired.mode=whole",
    ),
    "lrp hidden": ("attribution=lrp", "attribution.projection=hidden"),
    "lrp gate": ("attribution=lrp", "attribution.projection=gate"),
}
"""What a view of the neurons is on the command line; all but two explain the cut references."""


def mean(contrasts: Sequence[torch.Tensor]) -> torch.Tensor:
    """The mean over reference seeds."""
    return torch.stack(list(contrasts)).mean(0)


def scaled(contrasts: Sequence[torch.Tensor]) -> torch.Tensor:
    """The mean over reference seeds, in units of its standard deviation over neurons."""
    value = mean(contrasts)
    return value / value.std()


def agreement(contrasts: Sequence[torch.Tensor]) -> torch.Tensor:
    """The mean over reference seeds where all of them have its sign, else zero."""
    values = torch.stack(list(contrasts))
    return mean(contrasts) * (values.sign().sum(0).abs() == len(values))


def ranks(contrasts: Sequence[torch.Tensor]) -> torch.Tensor:
    """The rank of each neuron's mean, 0 for the lowest."""
    value = mean(contrasts)
    return value.flatten().argsort(stable=True).argsort().reshape(value.shape).double()


def both(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Minus the geometric mean of two scores where both are negative, else zero."""
    return -(first.clamp(max=0) * second.clamp(max=0)).sqrt()


def interleaved(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Ranks that take from the two scores in turn, from `first` first."""
    order = [score.flatten().argsort(stable=True).argsort() for score in (first, second)]
    return torch.minimum(2 * order[0], 2 * order[1] + 1).reshape(first.shape).double()


def staged(first: torch.Tensor, count: int, rest: torch.Tensor) -> torch.Tensor:
    """Ranks with the `count` lowest of `first` in front, all others in the order of `rest`."""
    order = rest.flatten().argsort(stable=True).argsort()
    front = first.flatten().argsort(stable=True)[:count]
    order[front] = torch.arange(len(front)) - len(front)
    return order.reshape(rest.shape).double()


def _sum(*views: str) -> Callable[[Contrasts], torch.Tensor]:
    return lambda c: torch.stack([scaled(c[view]) for view in views]).sum(0)


def _weighted(first: str, weight: float, second: str) -> Callable[[Contrasts], torch.Tensor]:
    return lambda c: scaled(c[first]) + weight * scaled(c[second])


RULES: Mapping[str, Callable[[Contrasts], torch.Tensor]] = {
    "lrp + activation": _sum("lrp", "activation"),
    "lrp + 2 activation": _weighted("lrp", 2.0, "activation"),
    "lrp + activation / 2": _weighted("lrp", 0.5, "activation"),
    "gradient + activation": _sum("gradient", "activation"),
    "gradient + 2 activation": _weighted("gradient", 2.0, "activation"),
    "gradient + 4 activation": _weighted("gradient", 4.0, "activation"),
    "lrp + gradient + activation": _sum("lrp", "gradient", "activation"),
    "ranks of lrp + activation": lambda c: ranks(c["lrp"]) + ranks(c["activation"]),
    "worse rank of lrp, activation": lambda c: torch.maximum(
        ranks(c["lrp"]), ranks(c["activation"])
    ),
    "lrp and activation": lambda c: both(scaled(c["lrp"]), scaled(c["activation"])),
    "activation where lrp < 0": lambda c: mean(c["activation"]) * (mean(c["lrp"]) < 0),
    "lrp, activation in turn": lambda c: interleaved(mean(c["lrp"]), mean(c["activation"])),
    "8 of lrp + activation by rank, then activation": lambda c: staged(
        ranks(c["lrp"]) + ranks(c["activation"]), 8, mean(c["activation"])
    ),
    "8 of gradient + activation, then activation": lambda c: staged(
        _sum("gradient", "activation")(c), 8, mean(c["activation"])
    ),
    "lrp, seeds agree": lambda c: agreement(c["lrp"]),
    "activation, seeds agree": lambda c: agreement(c["activation"]),
    "lrp at cut + prompt": _sum("lrp", "lrp prompt"),
    "lrp at cut + prompt + whole": _sum("lrp", "lrp prompt", "lrp whole"),
    "lrp at cut + prompt, activation": _sum("lrp", "lrp prompt", "activation"),
    "lrp up + gate + hidden": _sum("lrp", "lrp gate", "lrp hidden"),
    "lrp up + gate + hidden, activation": _sum("lrp", "lrp gate", "lrp hidden", "activation"),
}
