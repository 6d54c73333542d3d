"""Group `model`."""

from dataclasses import dataclass

from omegaconf import MISSING


@dataclass
class ModelConfig:
    """Group `model`: which language model, and how it is loaded and run.

    `threads`: CPU threads of torch; null leaves torch's own choice.
    """

    name: str = MISSING
    path: str = MISSING
    revision: str | None = None
    dtype: str = "float32"
    device_map: str | None = None
    attn_implementation: str = "sdpa"
    threads: int | None = None
