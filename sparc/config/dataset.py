"""Group `dataset`: a behaviour, its references, prompts and texts."""

from dataclasses import dataclass, field

from omegaconf import MISSING


@dataclass
class SourceConfig:
    """Texts: a local file (JSON lines, also gzipped; CSV; parquet) or a data set of the hub.

    `column` may be dotted. `config`, `split` and `revision` are those of a hub data set.
    """

    path: str | None = None
    column: str = "text"
    config: str | None = None
    split: str = "train"
    revision: str | None = None


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
class ReferenceConfig(SourceConfig):
    """One reference set: how many texts, and how they are cut (`cut`, `whole`, `prompt`).

    `path` names texts (behaviours from files; null: their prompts of the attribution split); a
    text is taken up to its first `max_words` words. `seq_len`: only texts of at least so many
    tokens, up to there; drawn from a stream shuffled by the reference seed with `buffer` texts.
    """

    samples: int = 128
    mode: str = "cut"
    max_words: int | None = None
    seq_len: int | None = None
    buffer: int = 10_000


@dataclass
class PromptsConfig(SourceConfig):
    """Prompts with their categories, from a file or the hub.

    With `score_column` the category is that of the score: undesired from `undesired_from` on,
    neutral up to `neutral_to`; prompts between them are left out.
    """

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
