"""Group `attribution`."""

from dataclasses import dataclass, field
from typing import Annotated

from omegaconf import MISSING

from sparc.config.rules import NOT_NEGATIVE, POSITIVE, UNIQUE, at_most, one_of


@dataclass
class TargetConfig:
    """What is explained at the last token."""

    kind: Annotated[str, one_of("argmax", "tokens", "difference", "logprob")] = "argmax"
    token_ids: Annotated[list[int], UNIQUE] = field(default_factory=list)


@dataclass
class AttributionConfig:
    """Group `attribution`: how neurons are scored.

    `rules` to `seed` change scores (methods.py says for which methods), the rest only what
    computing them takes.
    """

    _target_: str = MISSING
    name: str = MISSING
    rules: Annotated[str, one_of("attnlrp", "cp")] = "attnlrp"
    target: TargetConfig = field(default_factory=TargetConfig)
    reduction: Annotated[str, one_of("signed", "abs_sample", "abs_weight")] = "signed"
    projection: Annotated[str, one_of("up", "gate", "down", "hidden")] = "up"
    steps: Annotated[int, POSITIVE, at_most(10_000)] = 16
    seed: Annotated[int, NOT_NEGATIVE] = 0
    batch_tokens: Annotated[int, POSITIVE] = 2048
    gradient_checkpointing: bool = False
    nonfinite: Annotated[str, one_of("stop", "skip")] = "stop"
    checkpoint_seconds: Annotated[float, NOT_NEGATIVE] = 60.0
    shards: Annotated[int, POSITIVE, at_most(10_000)] = 1
    """Into how many parts the reference samples are split."""
    shard: int | None = None
    """The part that a process computes with stage=attribute, 0 to shards - 1; null for all."""
