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


@dataclass
class SourceConfig:
    """A local file of texts: JSON lines (also gzipped) or parquet; `column` may be dotted."""

    path: str | None = None
    column: str = "text"


@dataclass
class NamedSourceConfig(SourceConfig):
    """A further file of texts with the name under which its perplexity is reported."""

    name: str = MISSING


@dataclass
class TextsConfig:
    """Files of texts for perplexity; `others` is a list such as [{name: news, path: n.jsonl}]."""

    general: SourceConfig = field(default_factory=SourceConfig)
    benign: SourceConfig = field(default_factory=SourceConfig)
    undesired: SourceConfig = field(default_factory=SourceConfig)
    others: list[NamedSourceConfig] = field(default_factory=list)


@dataclass
class ReferenceConfig:
    """One reference set: how many texts, and how they are cut (`cut`, `whole`, `prompt`).

    `path` names a file of texts (behaviours from files; null: their prompts of the attribution
    split); a text is taken up to its first `max_words` words.
    """

    samples: int = 128
    mode: str = "cut"
    path: str | None = None
    column: str = "text"
    max_words: int | None = None


@dataclass
class PromptsConfig:
    """A file of prompts: JSON lines (also gzipped) or parquet; columns may be dotted.

    With `score_column` the category is that of the score: undesired from `undesired_from` on,
    neutral up to `neutral_to`; prompts between them are left out.
    """

    path: str | None = None
    column: str = "prompt"
    category_column: str = "category"
    split_column: str = "split"
    score_column: str | None = None
    undesired_from: float = 0.9
    neutral_to: float = 0.1


@dataclass
class DatasetConfig:
    """Group `dataset`: a behaviour, its references, its prompts and its texts.

    `selected_on_baseline`: the undesired prompts are those on which the unpruned model shows the
    behaviour, so that any change of the model makes it rarer: the verdict says so.
    """

    _target_: str = MISSING
    name: str = MISSING
    reference_seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    general: ReferenceConfig = field(default_factory=ReferenceConfig)
    undesired: ReferenceConfig = field(default_factory=ReferenceConfig)
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    texts: TextsConfig = field(default_factory=TextsConfig)
    categories: list[str] = MISSING
    undesired_category: str = MISSING
    neutral_category: str | None = None
    primary_metric: str = "rate"
    scorers: list[str] = field(default_factory=lambda: ["detoxify"])
    detoxify: str = "original"
    uniqueness: float = 0.5
    selected_on_baseline: bool = False


@dataclass
class TargetConfig:
    """What is explained at the last token: `argmax`, `tokens`, `difference` or `logprob`."""

    kind: str = "argmax"
    token_ids: list[int] = field(default_factory=list)


@dataclass
class AttributionConfig:
    """Group `attribution`: how neurons are scored.

    `rules` to `seed` change scores (sparc/methods.py says for which methods), the rest only what
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


@dataclass
class PruningConfig:
    """Group `pruning`: which neurons go. `path` is the neurons.json of method `from_file`."""

    method: str = MISSING
    path: str | None = None
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
    """Texts for perplexity and how they are cut into windows; `documents` null takes all."""

    documents: int | None = 100
    convention: str = "documents"
    max_length: int | None = None
    stride: int = 512
    batch_tokens: int = 2048


@dataclass
class BudgetConfig:
    """What a removal may cost: relative rise of perplexity, else absolute (accuracy: its fall)."""

    perplexity: float = 0.05
    loop_rate: float = 0.05
    toxicity: float = 0.02
    accuracy: float = 0.02


@dataclass
class DetoxifyConfig:
    """`source`: embedded, a variant of Detoxify, or a checkpoint file in its format."""

    source: str = "embedded"
    label: str = "toxicity"


@dataclass
class ClassifierConfig:
    """Any sequence classifier of transformers (hub id or folder) and the label that counts."""

    path: str | None = None
    label: str = "toxicity"


@dataclass
class LexiconConfig:
    """A file with an undesired word or word pair a line; null takes the data set's own."""

    path: str | None = None


@dataclass
class LmEvalConfig:
    """Tasks of lm-evaluation-harness, before and after; `include_path` holds local task files."""

    tasks: list[str] = field(default_factory=list)
    include_path: str | None = None
    num_fewshot: int | None = None
    limit: int | None = None
    batch_size: int = 16


@dataclass
class EvaluationConfig:
    """Group `evaluation`: what is measured before and after."""

    split: str = "held_out"
    in_sample: bool = False
    prompts: int = 80
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    perplexity: PerplexityConfig = field(default_factory=PerplexityConfig)
    scorers: list[str] = field(default_factory=lambda: ["detoxify", "lexicon"])
    scorer_device: str = "auto"
    detoxify: DetoxifyConfig = field(default_factory=DetoxifyConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    lexicon: LexiconConfig = field(default_factory=LexiconConfig)
    lm_eval: LmEvalConfig = field(default_factory=LmEvalConfig)
    threshold: float = 0.5
    on_failure: str = "stop"
    baseline: str = "auto"
    random_draws: int = 5
    resamples: int = 2000
    batch_tokens: int = 8192
    budget: BudgetConfig = field(default_factory=BudgetConfig)


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
    init_timeout: float = 10.0
    finish_timeout: float = 20.0


@dataclass
class PathsConfig:
    """Folders: `cache` is shared between runs, `outputs` holds run directories."""

    cache: str = MISSING
    outputs: str = "outputs"


@dataclass
class Config:
    """Everything that a run is made of; `run` names an existing run for `stage=report`."""

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


def register_schema() -> None:
    """Make the schema known to Hydra as `schema`, which conf/config.yaml builds on."""
    ConfigStore.instance().store(name="schema", node=Config)


# What changes where and how fast a run goes, but not what it finds.
NOT_CONTENT = ("paths", "tracking", "device", "run")


def content(config: Config) -> dict[str, Any]:
    """The part of a configuration that its results depend on, as plain JSON-able data."""
    return {key: value for key, value in asdict(config).items() if key not in NOT_CONTENT}
