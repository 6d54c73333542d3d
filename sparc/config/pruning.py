"""Group `pruning`."""

from dataclasses import dataclass, field

from omegaconf import MISSING


@dataclass
class PruningConfig:
    """Group `pruning`: which neurons go. `path` is the neurons.json of method `from_file`."""

    method: str = MISSING
    path: str | None = None
    num_neurons: int = 32
    curve: list[int] = field(default_factory=list)
    layers: list[int] | None = None
    save_model: bool = False
