"""Group `evaluation`."""

from dataclasses import dataclass, field


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
    revision: str | None = None
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
