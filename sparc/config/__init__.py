"""The typed schema of every configuration group, and the checks that need no model.

Hydra composes `conf/` into these dataclasses: an unknown key or a wrong type cannot get through.
`check` refuses impossible values. No torch here: a mistake is told in well under two seconds.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from sparc.config.attribution import AttributionConfig, TargetConfig
from sparc.config.clean import CleanConfig
from sparc.config.dataset import (
    GENERAL,
    RESPONSE_MODES,
    UNDESIRED,
    DatasetConfig,
    NamedSourceConfig,
    PromptsConfig,
    ReferenceConfig,
    ResponseConfig,
    SourceConfig,
    TextsConfig,
    UndesiredConfig,
    answers,
    settings_of,
)
from sparc.config.evaluation import (
    BudgetConfig,
    ClassifierConfig,
    DetoxifyConfig,
    EvaluationConfig,
    LexiconConfig,
    LmEvalConfig,
    PerplexityConfig,
    SamplingConfig,
)
from sparc.config.model import MemoryConfig, ModelConfig
from sparc.config.pruning import PruningConfig
from sparc.config.tracking import TrackingConfig

__all__ = [
    "GENERAL",
    "NOT_CONTENT",
    "RESPONSE_MODES",
    "UNDESIRED",
    "AttributionConfig",
    "BudgetConfig",
    "ClassifierConfig",
    "CleanConfig",
    "Config",
    "DatasetConfig",
    "DetoxifyConfig",
    "EvaluationConfig",
    "LexiconConfig",
    "LmEvalConfig",
    "MemoryConfig",
    "ModelConfig",
    "NamedSourceConfig",
    "PathsConfig",
    "PerplexityConfig",
    "PromptsConfig",
    "PruningConfig",
    "ReferenceConfig",
    "ResponseConfig",
    "SamplingConfig",
    "SourceConfig",
    "TargetConfig",
    "TextsConfig",
    "TrackingConfig",
    "UndesiredConfig",
    "answers",
    "content",
    "register_schema",
    "settings_of",
]


@dataclass
class PathsConfig:
    """Folders: `cache` is shared between runs, `outputs` holds run directories."""

    cache: str = MISSING
    outputs: str = "outputs"


@dataclass
class Config:
    """Everything that a run is made of; `run`: an existing run for stage `evaluate` or `report`."""

    seed: int = 0
    stage: str = "all"
    name: str = MISSING
    device: str = "auto"
    run: str | None = None
    paths: PathsConfig = field(default_factory=PathsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    attribution: AttributionConfig = field(default_factory=AttributionConfig)
    pruning: PruningConfig = field(default_factory=PruningConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    clean: CleanConfig = field(default_factory=CleanConfig)


def register_schema() -> None:
    """Make the schema known to Hydra as `schema`, which conf/config.yaml builds on."""
    ConfigStore.instance().store(name="schema", node=Config)


# What changes where and how fast a run goes, but not what it finds.
NOT_CONTENT = ("paths", "tracking", "device", "run", "clean")


def content(config: Config) -> dict[str, Any]:
    """The part of a configuration that its results depend on, as plain JSON-able data."""
    return {key: value for key, value in asdict(config).items() if key not in NOT_CONTENT}
