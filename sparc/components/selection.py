"""Which components go: the lowest of a score over all layers, or layer-matched random ones."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import torch

from sparc.components.scores import Scores
from sparc.components.sites import Site
from sparc.storage.digests import tensors_digest

Component = tuple[Site, int]
"""A site, and the place in its flattened shape."""


@dataclass(frozen=True, eq=False)
class Selection:
    """Components of one granularity."""

    granularity: str
    masks: Mapping[Site, torch.Tensor]
    """A mask (bool, the site's shape) for each site that holds any, layer by layer."""
    order: Sequence[Component] | None = None
    """The components in the order in which they go, most negative first; None where there is
    none, as for random ones."""

    @cached_property
    def count(self) -> int:
        """How many components are selected."""
        return sum(int(mask.sum()) for mask in self.masks.values())

    @cached_property
    def digest(self) -> str:
        """Hash of what is selected, whatever the order: part of the keys of caches."""
        named = {f"{site.layer} {site.name}": mask for site, mask in self.masks.items()}
        return tensors_digest({f"{self.granularity} {name}": mask for name, mask in named.items()})

    @property
    def listed(self) -> Sequence[Component]:
        """The components in their order; layer by layer where they have none."""
        if self.order is not None:
            return self.order
        flat = ((site, mask.flatten().nonzero()[:, 0]) for site, mask in self.masks.items())
        return [(site, int(index)) for site, indices in flat for index in indices]

    @property
    def indices(self) -> list[tuple[int, int]]:
        """(layer, index) of each listed component, in order."""
        return [(site.layer, index) for site, index in self.listed]

    def per_layer(self, layers: int) -> list[int]:
        """How many components lie in each of `layers` layers."""
        counts = [0] * layers
        for site, mask in self.masks.items():
            counts[site.layer] += int(mask.sum())
        return counts

    def first(self, count: int) -> "Selection":
        """The first `count` of the listed components."""
        return in_order(self.granularity, self.listed[:count])


def in_order(granularity: str, order: Sequence[Component]) -> Selection:
    """The selection of these components, in this order."""
    masks = {}
    for site, members in groupby(sorted(order), key=lambda component: component[0]):
        mask = torch.zeros(site.count, dtype=torch.bool)
        mask[[index for _, index in members]] = True
        masks[site] = mask.reshape(site.shape)
    return Selection(granularity, masks, order)


def listed(granularity: str, sites: Iterable[Site], indices: Iterable[Sequence[int]]) -> Selection:
    """The components with these (layer, index), one site a layer.

    Raises KeyError for a layer that has no site and IndexError for an index beyond its site.
    """
    by_layer = {site.layer: site for site in sites}
    order = [(by_layer[layer], index) for layer, index in indices]
    if any(not 0 <= index < site.count for site, index in order):
        raise IndexError("an index lies beyond its site")
    return in_order(granularity, order)


def lowest(scores: Scores, count: int, layers: Sequence[int] | None = None) -> Selection:
    """The `count` components with the lowest scores, most negative first.

    Ranked over all layers at once (SparC3, Eq. 2: argsort ascending), or over `layers` only; ties
    go to the lower layer and index. Nothing for count 0. Raises ValueError for more than there
    are.
    """
    among = [site for site in scores.sites if layers is None or site.layer in layers]
    ends = np.cumsum([site.count for site in among])
    available = int(ends[-1]) if among else 0
    if count > available:
        raise ValueError(f"{count} {scores.granularity} asked for, {available} to choose from")
    if not count:
        return in_order(scores.granularity, ())
    ranked = torch.argsort(torch.cat([scores[site].flatten() for site in among]), stable=True)
    flat = ranked[:count].numpy()
    places = np.searchsorted(ends, flat, side="right")
    starts = ends - [site.count for site in among]
    order = [(among[at], int(each - starts[at])) for at, each in zip(places, flat, strict=True)]
    return in_order(scores.granularity, order)


def matched(selection: Selection, seed: Sequence[int]) -> Selection:
    """As many random components of each site as `selection` has there, without repetition.

    Args:
        seed: whole numbers that name the draw, such as (root seed, draw).
    """
    generator = np.random.default_rng(list(seed))
    drawn: dict[Site, torch.Tensor] = {}
    for site, mask in selection.masks.items():
        indices = generator.choice(site.count, size=int(mask.sum()), replace=False)
        chosen = torch.zeros(site.count, dtype=torch.bool)
        chosen[torch.from_numpy(indices)] = True
        drawn[site] = chosen.reshape(site.shape)
    return Selection(selection.granularity, drawn)
