"""Group `attribution`."""

from dataclasses import dataclass, field

from omegaconf import MISSING


@dataclass
class TargetConfig:
    """What is explained at the last token: `argmax`, `tokens`, `difference` or `logprob`."""

    kind: str = "argmax"
    token_ids: list[int] = field(default_factory=list)


@dataclass
class AttributionConfig:
    """Group `attribution`: how neurons are scored.

    `rules` to `seed` change scores (methods.py says for which methods), the rest only what
    computing them takes. `shards` splits the reference samples into parts, of which a process
    computes `shard` (0 to shards - 1) with stage=attribute, or all of them where it is null.
    """

    _target_: str = MISSING
    name: str = MISSING
    rules: str = "attnlrp"
    target: TargetConfig = field(default_factory=TargetConfig)
    reduction: str = "signed"
    projection: str = "up"
    steps: int = 16
    seed: int = 0
    batch_tokens: int = 2048
    gradient_checkpointing: bool = False
    nonfinite: str = "stop"
    checkpoint_seconds: float = 60.0
    shards: int = 1
    shard: int | None = None
