"""Group `model`."""

from dataclasses import dataclass, field

from omegaconf import MISSING


@dataclass
class MemoryConfig:
    """How much of each GPU and of the CPU's memory `device_map` may fill, such as 30GiB."""

    gpu: str | None = None
    cpu: str | None = None


@dataclass
class ModelConfig:
    """Group `model`: which language model, and how it is loaded and run.

    `path`: hub id or local folder. `device_map`: auto spreads the weights over all devices, then
    the CPU's memory, then the disk.
    `trust_remote_code`: false is all there is. `threads`: CPU threads of torch; null leaves
    torch's own choice.
    """

    name: str = MISSING
    path: str = MISSING
    revision: str | None = None
    dtype: str = "float32"
    device_map: str | None = None
    max_memory: MemoryConfig = field(default_factory=MemoryConfig)
    attn_implementation: str = "sdpa"
    trust_remote_code: bool = False
    threads: int | None = None
