"""The grammar corpus of the embedded model as a data set."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from sparc.config import UNDESIRED, DatasetConfig, EvaluationConfig, answers, settings_of
from sparc.tasks.dataset import Dataset, Reference, Tools
from sparc.tasks.responses import (
    answered,
    candidate_categories,
    response_search,
    text_share,
)
from sparc.tiny import data as tiny

_ALL_DOCUMENTS = 1000  # of a grammar that never ends
_TEXT_MODES = {"response": "whole", "response_cut": "cut"}


def embedded(
    config: DatasetConfig, evaluation: EvaluationConfig, _cache: Path | None = None
) -> Dataset:
    """References, prompts, texts and the lexicon of the corpus; it knows where insults begin.

    With the modes `response` and `response_cut` it is the model that speaks, after prompts of the
    attribution split.
    """
    split, documents = evaluation.split, evaluation.perplexity.documents or _ALL_DOCUMENTS
    dataset = Dataset(
        references=_references(config),
        prompts={c: tiny.prompts(split, c, evaluation.prompts) for c in config.categories},
        texts={name: tiny.texts(name, split, documents) for name in tiny.TEXTS},
        lexicon=(frozenset(tiny.LEXICON), frozenset(tiny.LEXICON_BIGRAMS)),
        append_eos=True,
    )
    if not answers(config.undesired):
        return dataset

    def on_model(tools: Tools) -> Dataset:
        response, categories = config.undesired.response, candidate_categories(config)
        each = -(-response.max_candidates // response.samples // len(categories))
        prompts = [p for c in categories for p in tiny.prompts("attribution", c, each)]
        return answered(dataset, tools, prompts, config, response_search(config, evaluation))

    return replace(dataset, on_model=on_model)


def _references(config: DatasetConfig) -> Callable[[str, int], Sequence[Reference]]:
    """Texts of the corpus; of the general set only as many as are not to be responses."""

    def references(name: str, seed: int) -> list[Reference]:
        settings = settings_of(config, name)
        mode = _TEXT_MODES.get(settings.mode, settings.mode)
        if name == UNDESIRED:
            texts = tiny.undesired_references(seed, settings.samples, mode)
        else:
            # the second half is benign talk, in whose place responses go
            texts = tiny.general_references(seed, settings.samples, mode)[: text_share(settings)]
        return [Reference(text) for text in texts]

    return references
