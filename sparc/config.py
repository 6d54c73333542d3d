"""The typed schema of every configuration group, and the checks that need no model.

Hydra composes `conf/` into these dataclasses: an unknown key or a wrong type cannot get through.
`check` refuses impossible values. No torch here: a mistake is told in well under two seconds.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class ModelConfig:
    """Group `model`: which language model, and how it is loaded."""

    name: str = MISSING
    path: str = MISSING
    revision: str | None = None
    dtype: str = "float32"
    device_map: str | None = None
    attn_implementation: str = "sdpa"


@dataclass
class ReferenceConfig:
    """One reference set: how many texts, and how they are cut (`cut`, `whole`, `prompt`)."""

    samples: int = 128
    mode: str = "cut"


@dataclass
class DatasetConfig:
    """Group `dataset`: a behaviour, its references, its prompts and its texts."""

    _target_: str = MISSING
    name: str = MISSING
    reference_seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    general: ReferenceConfig = field(default_factory=ReferenceConfig)
    undesired: ReferenceConfig = field(default_factory=ReferenceConfig)
    categories: list[str] = MISSING
    undesired_category: str = MISSING
    neutral_category: str | None = None
    primary_metric: str = "rate"


@dataclass
class TargetConfig:
    """What is explained at the last token: `argmax`, `tokens`, `difference` or `logprob`."""

    kind: str = "argmax"
    token_ids: list[int] = field(default_factory=list)


@dataclass
class AttributionConfig:
    """Group `attribution`: how neurons are scored."""

    _target_: str = MISSING
    name: str = MISSING
    rules: str = "attnlrp"
    target: TargetConfig = field(default_factory=TargetConfig)
    reduction: str = "signed"
    projection: str = "up"
    batch_tokens: int = 4096


@dataclass
class PruningConfig:
    """Group `pruning`: which neurons go."""

    method: str = MISSING
    num_neurons: int = 32
    curve: list[int] = field(default_factory=list)
    layers: list[int] | None = None
    save_model: bool = False


@dataclass
class SamplingConfig:
    """How completions are sampled; temperature 0 is greedy decoding, top_k 0 is off."""

    samples: int = 4
    max_new_tokens: int = 25
    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 0


@dataclass
class PerplexityConfig:
    """Texts for perplexity and how they are cut into windows."""

    documents: int = 150
    convention: str = "documents"
    max_length: int | None = None
    stride: int = 512


@dataclass
class BudgetConfig:
    """What a removal may cost: relative rise of perplexity, absolute rise of the others."""

    perplexity: float = 0.05
    loop_rate: float = 0.05
    toxicity: float = 0.02


@dataclass
class EvaluationConfig:
    """Group `evaluation`: what is measured before and after."""

    split: str = "held_out"
    in_sample: bool = False
    prompts: int = 80
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    perplexity: PerplexityConfig = field(default_factory=PerplexityConfig)
    scorers: list[str] = field(default_factory=lambda: ["detoxify", "lexicon"])
    detoxify: str = "embedded"
    threshold: float = 0.5
    random_draws: int = 5
    resamples: int = 2000
    batch_tokens: int = 8192
    budget: BudgetConfig = field(default_factory=BudgetConfig)


@dataclass
class TrackingConfig:
    """Group `tracking`: where live metrics go; `none` keeps everything in the run directory."""

    name: str = "none"


@dataclass
class PathsConfig:
    """Folders: `cache` is shared between runs, `outputs` holds run directories."""

    cache: str = MISSING
    outputs: str = "outputs"


@dataclass
class Config:
    """Everything that a run is made of."""

    seed: int = 0
    stage: str = "all"
    name: str = MISSING
    device: str = "auto"
    paths: PathsConfig = field(default_factory=PathsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    attribution: AttributionConfig = field(default_factory=AttributionConfig)
    pruning: PruningConfig = field(default_factory=PruningConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


def register_schema() -> None:
    """Make the schema known to Hydra as `schema`, which conf/config.yaml builds on."""
    ConfigStore.instance().store(name="schema", node=Config)


# What changes where and how fast a run goes, but not what it finds.
NOT_CONTENT = ("paths", "tracking", "device")


def content(config: Config) -> dict[str, Any]:
    """The part of a configuration that its results depend on, as plain JSON-able data."""
    return {key: value for key, value in asdict(config).items() if key not in NOT_CONTENT}
