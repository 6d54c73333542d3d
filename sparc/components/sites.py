"""Sites: where components of one kind lie in a model, and how they are set to zero and put back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from hydra.utils import get_method

from sparc.models.model import Model

Undo = Callable[[], None]
Zero = Callable[[torch.Tensor], Undo]
"""Sets the components of a mask (bool, the site's shape) to zero; what it returns puts them back
bit for bit."""

Sites = Mapping["Site", Zero]
"""What a granularity finds in a model, layer by layer."""


@dataclass(frozen=True, order=True)
class Site:
    """The components of one kind in one layer, such as its MLP neurons."""

    layer: int
    name: str
    shape: tuple[int, ...]
    """[neurons] or [heads]; [rows, columns] where single weights are components."""

    @property
    def count(self) -> int:
        """How many components lie here."""
        return int(torch.Size(self.shape).numel())


def sites(model: Model, granularity: str) -> Sites:
    """Where the components of `granularity` lie in `model`.

    Args:
        granularity: `neurons`, or the dotted name of one's own function of a model that gives
            its sites (`heads` and `weights` are there to be removed; no method scores them yet).
            Nothing but that function knows the modules of a model.
    """
    own = "." in granularity
    target = granularity if own else f"sparc.components.{granularity}.{granularity}"
    found: Sites = get_method(target)(model)
    return found
