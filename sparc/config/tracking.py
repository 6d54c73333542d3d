"""Group `tracking`."""

from dataclasses import dataclass, field


@dataclass
class TrackingConfig:
    """Group `tracking`: where live metrics go; `none` keeps everything in the run directory.

    `init_timeout`, `finish_timeout`: seconds to wait for W&B before the run goes on without it.
    """

    name: str = "none"
    mode: str = "online"
    project: str = "sparc"
    entity: str | None = None
    tags: list[str] = field(default_factory=list)
    completions: bool = False
    init_timeout: float = 30.0
    finish_timeout: float = 20.0
