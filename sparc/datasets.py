"""A behaviour's data: reference texts, prompts by category, texts for perplexity.

A data set is a function of its configuration, named by `dataset._target_`. Nothing here
touches a model, so what it returns is the same whatever is measured on it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hydra.utils import get_method

from sparc.config import DatasetConfig, EvaluationConfig
from sparc.errors import UserError
from sparc.tiny import data as tiny

GENERAL, UNDESIRED = "general", "undesired"


@dataclass(frozen=True)
class Dataset:
    """What attribution and evaluation read.

    references: (set, seed) -> texts, `set` is general or undesired. prompts: category -> texts.
    texts: name -> documents for perplexity. `lexicon`: undesired words and word pairs, if known.
    append_eos: the model saw an end token after each document of `texts`.
    """

    references: Callable[[str, int], Sequence[str]]
    prompts: Mapping[str, Sequence[str]]
    texts: Mapping[str, Sequence[str]]
    lexicon: tuple[frozenset[str], frozenset[tuple[str, str]]] | None
    append_eos: bool


def load_dataset(config: DatasetConfig, evaluation: EvaluationConfig) -> Dataset:
    """The data set that `config` describes, its evaluation part of the split asked for.

    Raises UserError where a reference text is also an evaluation prompt, unless the evaluation
    is marked in-sample.
    """
    dataset: Dataset = get_method(config._target_)(config, evaluation)
    if not evaluation.in_sample:
        _refuse_leak(config, dataset)
    return dataset


def embedded(config: DatasetConfig, evaluation: EvaluationConfig) -> Dataset:
    """The grammar corpus of the embedded model."""

    def references(name: str, seed: int) -> list[str]:
        if name == GENERAL:
            return tiny.general_references(seed, config.general.samples, config.general.mode)
        return tiny.undesired_references(seed, config.undesired.samples, config.undesired.mode)

    split, documents = evaluation.split, evaluation.perplexity.documents
    return Dataset(
        references=references,
        prompts={c: tiny.prompts(split, c, evaluation.prompts) for c in config.categories},
        texts={name: tiny.texts(name, split, documents) for name in tiny.TEXTS},
        lexicon=(frozenset(tiny.LEXICON), frozenset(tiny.LEXICON_BIGRAMS)),
        append_eos=True,
    )


def normalised(text: str) -> str:
    """Lower case, single spaces: two texts that differ in nothing else count as the same."""
    return " ".join(text.lower().split())


def _refuse_leak(config: DatasetConfig, dataset: Dataset) -> None:
    attributed = {
        normalised(text)
        for name in (GENERAL, UNDESIRED)
        for seed in config.reference_seeds
        for text in dataset.references(name, seed)
    }
    shown = [prompt for prompts in dataset.prompts.values() for prompt in prompts]
    leaked = sum(normalised(prompt) in attributed for prompt in shown)
    if leaked:
        raise UserError(
            f"{leaked} of {len(shown)} evaluation prompts are also reference texts: remove them, "
            "or set evaluation.in_sample=true, which marks every number as in-sample"
        )
