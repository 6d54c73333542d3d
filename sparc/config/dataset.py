"""Group `dataset`: a behaviour, its references, prompts and texts."""

from dataclasses import dataclass, field

from omegaconf import MISSING

GENERAL, UNDESIRED = "general", "undesired"
RESPONSE_MODES = ("response", "response_cut")


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
    """One reference set: how many texts, which ones and where they end.

    `mode`: `prompt` and `whole` texts end where they end, `cut` ones where the data set says or
    anywhere. `response` is the model's own response after its prompt, `response_cut` the same up
    to where the behaviour is about to fire (README, "References"). `order`: `first` takes the first
    ones of a file instead of random ones. `from_run`: the very texts that another run attributed,
    whatever the other settings here say.
    `path` names texts (behaviours from files; null: their prompts of the attribution split); a
    text is taken up to its first `max_words` words. `seq_len`: only texts of at least so many
    tokens, up to there; drawn from a stream shuffled by the reference seed with `buffer` texts.
    """

    samples: int = 128
    mode: str = "cut"
    order: str = "random"
    from_run: str | None = None
    max_words: int | None = None
    seq_len: int | None = None
    buffer: int = 10_000


@dataclass
class ResponseConfig:
    """How a model's own responses are found, for the modes `response` and `response_cut`.

    Prompts of the attribution split (of the undesired category, or of `categories`) are completed
    until enough responses score at least `threshold` with the primary scorer; those up to
    `benign_to` are the benign ones. `response_cut` cuts before the word with which what was said so
    far first scores at least `cut_from` (or `threshold`, where that is lower). `samples` responses
    a prompt, of which one is kept; `max_candidates` in all. `seed` is the root of their random
    streams.
    """

    max_new_tokens: int = 25
    temperature: float = 0.7
    top_p: float = 0.9
    samples: int = 1
    seed: int = 0
    threshold: float = 0.9
    benign_to: float = 0.1
    cut_from: float = 0.5
    max_candidates: int = 2000
    categories: list[str] | None = None


@dataclass
class UndesiredConfig(ReferenceConfig):
    """The undesired reference set; `response` is how the model's own responses are found."""

    response: ResponseConfig = field(default_factory=ResponseConfig)


@dataclass
class PromptsConfig(SourceConfig):
    """Prompts with their categories, from a file or the hub.

    With `score_column` the category is that of the score: undesired from `undesired_from` on,
    neutral up to `neutral_to`; prompts between them are left out. `split_by`: hash gives every
    prompt one of three splits; none leaves all prompts in every split, for in-sample evaluation.
    With `flag_column` only prompts count where that column is true, such as `challenging`.
    """

    column: str = "prompt"
    category_column: str = "category"
    split_column: str = "split"
    score_column: str | None = None
    flag_column: str | None = None
    undesired_from: float = 0.9
    neutral_to: float = 0.1
    split_by: str = "hash"


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
    undesired: UndesiredConfig = field(default_factory=UndesiredConfig)
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


def settings_of(config: DatasetConfig, name: str) -> ReferenceConfig:
    """The settings of reference set `name`."""
    return config.undesired if name == UNDESIRED else config.general


def answers(settings: ReferenceConfig) -> bool:
    """Whether a reference set holds responses that the model at hand gives."""
    return settings.mode in RESPONSE_MODES and settings.from_run is None
