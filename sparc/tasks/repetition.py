"""Repetition as the behaviour: prompts after which this model's greedy decoding loops.

SparC3 (section 4.3, appendix F.2) takes prompts whose Response Uniqueness Ratio r, distinct tokens
over tokens of 50 greedily decoded ones, is at most 0.5. Here r counts words.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from sparc.config import (
    GENERAL,
    UNDESIRED,
    DatasetConfig,
    EvaluationConfig,
    SamplingConfig,
    settings_of,
)
from sparc.config.locations import EMBEDDED
from sparc.errors import UserError
from sparc.generation.scorers import repetition_scorer
from sparc.sources.texts import texts
from sparc.tasks.candidates import candidates
from sparc.tasks.dataset import Dataset, Reference, Tools, unknown
from sparc.tasks.files import draw, perplexity_texts
from sparc.tasks.prompts import split_of
from sparc.tasks.responses import answered
from sparc.tasks.search import Response, Search, responses
from sparc.tiny import data as tiny

_NEW_TOKENS = 50
_FEWEST = 5  # fewer prompts carry no statement
_EMBEDDED_CATEGORIES, _EMBEDDED_PROMPTS = ("neutral", "angry"), 40  # a split
_POOL = 10_000  # texts of a file from which general references are drawn
# The words of other data sets for the same thing: every reference here is a response.
_AS_RESPONSES = {"cut": "response_cut", "whole": "response", "prompt": "response"}


def repetition(
    config: DatasetConfig, evaluation: EvaluationConfig, cache: Path | None = None
) -> Dataset:
    """Candidate prompts; which of them loop is found out on the model (`Dataset.on_model`).

    They are those written for the project, or the texts of `dataset.prompts.path` (`embedded`:
    prompts of the embedded model's corpus, whose vocabulary knows no others). The two
    categories are the undesired one (r <= `dataset.uniqueness`) and the neutral one (all others).
    References end after the prompt (`prompt`), after the response (`response`, `whole`), or just
    before the word with which r falls that low (`response_cut`, `cut`; general ones after as many
    tokens). Of general ones half are texts of `dataset.general.path`, where that is given. Sets
    may hold fewer references than `samples`, but at least five.
    """
    if config.neutral_category is None:
        raise UserError("dataset.neutral_category is not set: name the prompts that do not loop")
    if config.prompts.split_by == "none":
        raise UserError(
            "dataset.prompts.split_by=none: candidate prompts are always split by their hash; "
            "leave it out"
        )
    placed = {prompt: split_of(prompt) for prompt in _prompts(config, cache)}
    pool = texts(config.general, cache, _POOL) if config.general.path is not None else []
    answering = _answering(config)

    def on_model(tools: Tools) -> Dataset:
        tools = replace(tools, scorer=repetition_scorer())
        search = _search(config, evaluation)
        here = [prompt for prompt, split in placed.items() if split == evaluation.split]
        dataset = _evaluated(config, evaluation, _completed(tools, search, here), cache)
        dataset = replace(dataset, references=_texts(answering, pool))
        attributed = [prompt for prompt, split in placed.items() if split == "attribution"]
        dataset = answered(dataset, tools, attributed, answering, search)
        return replace(dataset, references=_ended(config, dataset.references))

    return Dataset(references=unknown, prompts={}, texts={}, on_model=on_model)


def _prompts(config: DatasetConfig, cache: Path | None) -> list[str]:
    path = config.prompts.path
    if path is None:
        return candidates()
    if path == EMBEDDED:
        return [
            prompt
            for category in _EMBEDDED_CATEGORIES
            for split in tiny.SPLITS
            for prompt in tiny.prompts(split, category, _EMBEDDED_PROMPTS)
        ]
    return texts(config.prompts, cache)


def _search(config: DatasetConfig, evaluation: EvaluationConfig) -> Search:
    """Greedy responses; their score is 1 - r, see `sparc.generation.scorers.repetition_scorer`."""
    threshold = 1 - config.uniqueness
    return Search(
        sampling=SamplingConfig(1, _NEW_TOKENS, temperature=0, top_p=1.0),
        seed=0,
        threshold=threshold,
        benign_to=math.nextafter(threshold, 0),
        batch_tokens=evaluation.batch_tokens,
        cut=threshold,
        advice=(
            "give more prompts in dataset.prompts.path, or change "
            f"dataset.uniqueness={config.uniqueness:g}"
        ),
        fewest=_FEWEST,
    )


def _completed(tools: Tools, search: Search, prompts: Sequence[str]) -> list[Response]:
    with tools.progress("prompts: which of them loop", len(prompts)) as advance:
        batches = list(responses(tools, search, prompts, advance))
    return [response for batch in batches for (response,) in batch if response.score is not None]


def _evaluated(
    config: DatasetConfig,
    evaluation: EvaluationConfig,
    found: list[Response],
    cache: Path | None,
) -> Dataset:
    """The looping and the other prompts of the evaluated split. Raises UserError for few."""
    loops = [each.prompt for each in found if (each.score or 0) >= 1 - config.uniqueness]
    others = [each.prompt for each in found if (each.score or 0) < 1 - config.uniqueness]
    for what, chosen in (("loop", loops), ("do not loop", others)):
        if len(chosen) < _FEWEST:
            raise UserError(
                f"{len(chosen)} of {len(found)} candidate prompts of split {evaluation.split} "
                f"{what} on this model, {_FEWEST} are needed: give more in dataset.prompts.path, "
                f"or change dataset.uniqueness={config.uniqueness:g}"
            )
    neutral = others[: evaluation.prompts]
    assert config.neutral_category is not None
    return Dataset(
        references=unknown,
        prompts={
            config.undesired_category: loops[: evaluation.prompts],
            config.neutral_category: neutral,
        },
        texts=perplexity_texts(config, evaluation, neutral, cache),
    )


def _answering(config: DatasetConfig) -> DatasetConfig:
    """The same with modes that are all responses."""
    sets = {
        name: replace(each, mode=_AS_RESPONSES.get(each.mode, each.mode))
        for name, each in ((GENERAL, config.general), (UNDESIRED, config.undesired))
    }
    return replace(config, **sets)  # type: ignore[arg-type]


def _texts(config: DatasetConfig, pool: Sequence[str]) -> Callable[[str, int], Sequence[Reference]]:
    """The half of the general set that is texts; empty where there are none."""

    def references(name: str, seed: int) -> list[Reference]:
        rng = random.Random(f"sparc {name} references {seed}")
        return [Reference(text) for text in draw(pool, config.general, rng)]

    return references


def _ended(
    config: DatasetConfig, references: Callable[[str, int], Sequence[Reference]]
) -> Callable[[str, int], Sequence[Reference]]:
    """The same references; with mode=prompt only the prompts of the responses."""

    def ended(name: str, seed: int) -> list[Reference]:
        only_prompts = settings_of(config, name).mode == "prompt"
        return [
            Reference(each.facts["prompt"], facts={**each.facts, "cut": 0})
            if only_prompts and "prompt" in each.facts
            else each
            for each in references(name, seed)
        ]

    return ended
