"""A behaviour's data: reference texts, prompts by category, texts for perplexity.

A data set is a function of its configuration, named by `dataset._target_`. Where it depends on
what the model says, it holds a function that `fitted` calls once the model is loaded.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.utils import get_method

from sparc.config import DatasetConfig, EvaluationConfig
from sparc.digests import digest
from sparc.leaks import refuse_leak
from sparc.tiny import data as tiny

GENERAL, UNDESIRED = "general", "undesired"

Lexicon = tuple[frozenset[str], frozenset[tuple[str, str]]]


@dataclass(frozen=True)
class Reference:
    """A reference text. `token_ids`: exactly what is attributed; None where the tokenizer says.

    facts: what else references.jsonl keeps of it, such as its prompt, its score and its cut.
    """

    text: str
    token_ids: tuple[int, ...] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """What attribution and evaluation read.

    references: (set, seed) -> samples, `set` is general or undesired. prompts: category -> texts.
    texts: name -> documents for perplexity. `lexicon`: undesired words and word pairs, if known.
    append_eos: the model saw an end token after each document of `texts`. on_model: gives the
    data set for a model (`sparc.models.Model`), None where it does not depend on it.
    """

    references: Callable[[str, int], Sequence[Reference]]
    prompts: Mapping[str, Sequence[str]]
    texts: Mapping[str, Sequence[str]]
    lexicon: Lexicon | None = None
    append_eos: bool = False
    on_model: Callable[[Any], "Dataset"] | None = None

    def revision(self) -> dict[str, Any]:
        """How much there is of each part, and a hash of its content."""
        return {
            kind: {
                name: {"count": len(each), "sha256": digest(list(each))}
                for name, each in parts.items()
            }
            for kind, parts in (("prompts", self.prompts), ("texts", self.texts))
        }


def load_dataset(config: DatasetConfig, evaluation: EvaluationConfig) -> Dataset:
    """The data set that `config` describes, its evaluation part of the split asked for.

    Raises UserError where an evaluation prompt repeats a reference text, unless the evaluation
    is marked in-sample.
    """
    dataset: Dataset = get_method(config._target_)(config, evaluation)
    return dataset if dataset.on_model else _without_leak(dataset, config, evaluation)


def fitted(
    dataset: Dataset, model: Any, config: DatasetConfig, evaluation: EvaluationConfig
) -> Dataset:
    """The data set for `model`; the same one where it does not depend on a model."""
    if dataset.on_model is None:
        return dataset
    return _without_leak(dataset.on_model(model), config, evaluation)


def embedded(config: DatasetConfig, evaluation: EvaluationConfig) -> Dataset:
    """The grammar corpus of the embedded model."""

    def references(name: str, seed: int) -> list[Reference]:
        if name == GENERAL:
            found = tiny.general_references(seed, config.general.samples, config.general.mode)
        else:
            undesired = config.undesired
            found = tiny.undesired_references(seed, undesired.samples, undesired.mode)
        return [Reference(text) for text in found]

    split, documents = evaluation.split, evaluation.perplexity.documents or _ALL_DOCUMENTS
    return Dataset(
        references=references,
        prompts={c: tiny.prompts(split, c, evaluation.prompts) for c in config.categories},
        texts={name: tiny.texts(name, split, documents) for name in tiny.TEXTS},
        lexicon=(frozenset(tiny.LEXICON), frozenset(tiny.LEXICON_BIGRAMS)),
        append_eos=True,
    )


_ALL_DOCUMENTS = 1000  # of a grammar that never ends


def _without_leak(dataset: Dataset, config: DatasetConfig, evaluation: EvaluationConfig) -> Dataset:
    if not evaluation.in_sample:
        attributed = (
            reference.text
            for name in (GENERAL, UNDESIRED)
            for seed in config.reference_seeds
            for reference in dataset.references(name, seed)
        )
        refuse_leak(dataset.prompts, attributed)
    return dataset
