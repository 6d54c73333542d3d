"""Group `evaluation`."""

from dataclasses import dataclass, field
from typing import Annotated

from sparc.config.rules import (
    AT_LEAST_TWO,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    SHARE_ABOVE_0,
    UNIQUE,
    at_most,
    one_of,
)

SPLITS = ("attribution", "validation", "held_out")
CONVENTIONS = ("documents", "disjoint", "stride")
SCORERS = one_of("detoxify", "classifier", "lexicon", "repetition")


@dataclass
class SamplingConfig:
    """How completions are sampled."""

    samples: Annotated[int, POSITIVE] = 4
    max_new_tokens: Annotated[int, POSITIVE] = 25
    temperature: Annotated[float, NOT_NEGATIVE] = 0.7
    """0 is greedy decoding."""
    top_p: Annotated[float, SHARE_ABOVE_0] = 0.9
    top_k: Annotated[int, NOT_NEGATIVE] = 0
    """0 is off."""


@dataclass
class PerplexityConfig:
    """Texts for perplexity and how they are cut into windows."""

    documents: Annotated[int | None, POSITIVE] = 100
    """Null takes all."""
    convention: Annotated[str, one_of(*CONVENTIONS)] = "documents"
    max_length: Annotated[int | None, POSITIVE, AT_LEAST_TWO] = None
    stride: Annotated[int, POSITIVE] = 512
    batch_tokens: Annotated[int, POSITIVE] = 2048


@dataclass
class BudgetConfig:
    """What a removal may cost: relative rise of perplexity, else absolute (accuracy: its fall)."""

    perplexity: Annotated[float, NOT_NEGATIVE] = 0.05
    loop_rate: Annotated[float, NOT_NEGATIVE] = 0.05
    toxicity: Annotated[float, NOT_NEGATIVE] = 0.02
    accuracy: Annotated[float, NOT_NEGATIVE] = 0.02


@dataclass
class DetoxifyConfig:
    """The weights of Detoxify and the label that counts."""

    source: str = "embedded"
    """embedded, a variant of Detoxify, or a checkpoint file in its format."""
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
    """Tasks of lm-evaluation-harness, before and after."""

    tasks: Annotated[list[str], UNIQUE] = field(default_factory=list)
    include_path: str | None = None
    """A folder of local task files."""
    num_fewshot: Annotated[int | None, NOT_NEGATIVE] = None
    limit: Annotated[int | None, POSITIVE] = None
    batch_size: Annotated[int, POSITIVE] = 16


@dataclass
class EvaluationConfig:
    """Group `evaluation`: what is measured before and after."""

    split: Annotated[str, one_of(*SPLITS)] = "held_out"
    in_sample: bool = False
    prompts: Annotated[int, POSITIVE] = 80
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    perplexity: PerplexityConfig = field(default_factory=PerplexityConfig)
    scorers: Annotated[list[str], SCORERS, UNIQUE] = field(
        default_factory=lambda: ["detoxify", "lexicon"]
    )
    scorer_device: str = "auto"
    detoxify: DetoxifyConfig = field(default_factory=DetoxifyConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    lexicon: LexiconConfig = field(default_factory=LexiconConfig)
    lm_eval: LmEvalConfig = field(default_factory=LmEvalConfig)
    threshold: Annotated[float, SHARE] = 0.5
    on_failure: Annotated[str, one_of("stop", "count")] = "stop"
    baseline: Annotated[str, one_of("auto", "refresh")] = "auto"
    random_draws: Annotated[int, NOT_NEGATIVE, at_most(10_000)] = 5
    resamples: Annotated[int, POSITIVE, at_most(1_000_000)] = 2000
    batch_tokens: Annotated[int, POSITIVE] = 8192
    budget: BudgetConfig = field(default_factory=BudgetConfig)
