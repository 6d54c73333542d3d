"""A behaviour described by files: prompts, and if wanted references and texts of their own."""

import random
from collections.abc import Callable, Sequence

from sparc.behaviours.prompts import Prompt, of, read_prompts
from sparc.behaviours.reading import texts
from sparc.config import DatasetConfig, EvaluationConfig, ReferenceConfig, SourceConfig
from sparc.datasets import GENERAL, UNDESIRED, Dataset, Reference
from sparc.errors import UserError

_POOL = 10_000  # texts of a file from which references are drawn
_SHORTEST_CUT = 15  # words of a reference that is cut anywhere


def files(config: DatasetConfig, evaluation: EvaluationConfig) -> Dataset:
    """References, prompts and texts from local files; `conf/dataset/jsonl.yaml` says which.

    Without files of their own, references are prompts of the attribution split (undesired ones of
    the undesired category, general ones of the neutral category), and the evaluated split's
    neutral prompts are the text called general. Raises UserError for what cannot be read, and
    where a part would be empty.
    """
    if config.undesired.mode == "cut":
        raise UserError(
            "dataset.undesired.mode=cut: a file does not say where the behaviour begins; give "
            "texts that end just before it in dataset.undesired.path, with mode=whole"
        )
    prompts = read_prompts(config)
    return Dataset(
        references=_references(config, prompts),
        prompts=_evaluated(config, evaluation, prompts),
        texts=perplexity_texts(config, evaluation, _neutral(config, prompts, evaluation.split)),
    )


def draw(pool: Sequence[str], config: ReferenceConfig, rng: random.Random) -> list[str]:
    """At most `config.samples` different texts of `pool`, each shortened as `config` says."""
    chosen = rng.sample(list(pool), min(config.samples, len(pool)))
    return [_shortened(text, config, rng) for text in chosen]


def perplexity_texts(
    config: DatasetConfig, evaluation: EvaluationConfig, neutral: Sequence[str]
) -> dict[str, list[str]]:
    """name -> documents of the files in `dataset.texts`; without a general text, `neutral`."""
    most = evaluation.perplexity.documents
    own = config.texts
    sources: list[tuple[str, SourceConfig]]
    sources = [(GENERAL, own.general), ("benign", own.benign), (UNDESIRED, own.undesired)]
    sources += [(each.name, each) for each in own.others]
    found = {
        name: texts(each.path, each.column, most) for name, each in sources if each.path is not None
    }
    if GENERAL not in found:
        if not neutral:
            raise UserError(
                "no text for perplexity: set dataset.texts.general.path=... (a file), or give "
                "prompts of a neutral category (dataset.neutral_category)"
            )
        found[GENERAL] = list(neutral)[:most]
    return found


def _references(
    config: DatasetConfig, prompts: list[Prompt]
) -> Callable[[str, int], Sequence[Reference]]:
    settings = {GENERAL: config.general, UNDESIRED: config.undesired}
    categories = {GENERAL: config.neutral_category, UNDESIRED: config.undesired_category}
    pools = {}
    for name, each in settings.items():
        if each.path is not None:
            pools[name] = texts(each.path, each.column, _POOL)
        else:
            pools[name] = of(prompts, "attribution", categories[name] or "")
        if not pools[name]:
            raise UserError(
                f"no {name} references: {config.prompts.path} has no prompt of category "
                f"'{categories[name]}' in split attribution; add some or set "
                f"dataset.{name}.path=... (a file)"
            )

    def references(name: str, seed: int) -> list[Reference]:
        rng = random.Random(f"sparc {name} references {seed}")
        return [Reference(text) for text in draw(pools[name], settings[name], rng)]

    return references


def _evaluated(
    config: DatasetConfig, evaluation: EvaluationConfig, prompts: list[Prompt]
) -> dict[str, list[str]]:
    split = evaluation.split
    found = {c: of(prompts, split, c)[: evaluation.prompts] for c in config.categories}
    if not found[config.undesired_category]:
        raise UserError(
            f"{config.prompts.path}: no prompt of category '{config.undesired_category}' in "
            f"split {split}; add some, or choose another evaluation.split"
        )
    return {category: each for category, each in found.items() if each}


def _neutral(config: DatasetConfig, prompts: list[Prompt], split: str) -> list[str]:
    return of(prompts, split, config.neutral_category) if config.neutral_category else []


def _shortened(text: str, config: ReferenceConfig, rng: random.Random) -> str:
    words = text.split()
    most = len(words) if config.max_words is None else min(config.max_words, len(words))
    if config.mode == "cut" and most > _SHORTEST_CUT:
        most = rng.randint(_SHORTEST_CUT, most - 1)
    if most == len(words):
        return text  # with its own spacing
    return " ".join(words[:most])
