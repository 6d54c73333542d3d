"""References that are the model's own responses: whole, or cut where the behaviour would fire.

Undesired ones are found by sampling (`sparc.tasks.search`); of the general set one half are
texts and the other benign responses to the same kind of prompts. A cut benign response ends at an
offset drawn from those of the undesired cuts, so that the two sets differ in what comes next and
not in how far into a response it comes.
"""

import functools
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sparc.config import (
    GENERAL,
    UNDESIRED,
    DatasetConfig,
    EvaluationConfig,
    ReferenceConfig,
    SamplingConfig,
    answers,
    settings_of,
)
from sparc.generation.completing import decoded
from sparc.tasks.dataset import Dataset, Reference, Tools
from sparc.tasks.search import Found, Response, Search, found_responses, stream


def text_share(config: ReferenceConfig) -> int:
    """How many of a general set are texts: all, or half where the others are responses."""
    return config.samples - config.samples // 2 if answers(config) else config.samples


def in_order(prompts: Sequence[str], config: ReferenceConfig, seed: int) -> list[str]:
    """The prompts in the order in which they are taken: that of the file, or a random one."""
    ordered = list(prompts)
    if config.order == "random":
        random.Random(f"sparc order of prompts {seed}").shuffle(ordered)
    return ordered


def response_search(config: DatasetConfig, evaluation: EvaluationConfig) -> Search:
    """The search that `dataset.undesired.response` describes."""
    response = config.undesired.response
    cuts = "response_cut" in (config.undesired.mode, config.general.mode)
    return Search(
        sampling=SamplingConfig(
            samples=response.samples,
            max_new_tokens=response.max_new_tokens,
            temperature=response.temperature,
            top_p=response.top_p,
        ),
        seed=response.seed,
        threshold=response.threshold,
        benign_to=response.benign_to,
        batch_tokens=evaluation.batch_tokens,
        cut=min(response.cut_from, response.threshold) if cuts else None,
        advice=(
            "give more prompts (dataset.undesired.response.categories), raise samples or "
            "max_candidates there, or change threshold, benign_to or dataset.undesired.samples"
        ),
    )


def candidate_categories(config: DatasetConfig) -> list[str]:
    """The categories whose prompts are completed."""
    return config.undesired.response.categories or [config.undesired_category]


def answered(
    dataset: Dataset, tools: Tools, prompts: Sequence[str], config: DatasetConfig, search: Search
) -> Dataset:
    """`dataset` with the model's responses to `prompts` as references, where modes say so.

    Its own references serve as the texts of the general set. The search is made when references
    are first asked for, one for each reference seed, which has its own order and random streams.
    """
    most = max(1, config.undesired.response.max_candidates // search.sampling.samples)
    general = config.general

    def texts(seed: int) -> list[Reference]:
        return list(dataset.references(GENERAL, seed))

    @functools.cache
    def found(seed: int) -> Found:
        benign = general.samples - len(texts(seed)) if answers(general) else 0
        return found_responses(
            tools,
            replace(search, seed=stream(search.seed, seed)),
            in_order(prompts, config.undesired, seed)[:most],
            undesired=config.undesired.samples,
            benign=benign,
        )

    def references(name: str, seed: int) -> list[Reference]:
        tokenizer = tools.model.tokenizer
        if name == GENERAL and not answers(general):
            return texts(seed)
        chosen = found(seed)
        said = chosen.benign if name == GENERAL else chosen.undesired
        cuts = _offsets(chosen, seed) if name == GENERAL else [each.cut for each in said]
        cut = settings_of(config, name).mode == "response_cut"
        responses = [
            _reference(tokenizer, each, offset if cut else None)
            for each, offset in zip(said, cuts, strict=True)
        ]
        return responses if name == UNDESIRED else [*texts(seed), *responses]

    return replace(dataset, references=references, on_model=None)


def _offsets(found: Found, seed: int) -> list[int]:
    """Where to cut each benign response: offsets of undesired cuts, at most its length."""
    rng = random.Random(f"sparc offsets of benign responses {seed}")
    cuts = [each.cut or 0 for each in found.undesired]
    return [min(rng.choice(cuts), len(each.ids)) for each in found.benign]


def _reference(tokenizer: Any, response: Response, cut: int | None) -> Reference:
    ids = response.ids[:cut]
    return Reference(
        _continued(tokenizer, response, ids),
        response.prompt_ids + ids,
        {
            "prompt": response.prompt,
            "response": response.text,
            "score": response.score,
            "cut": cut,
        },
    )


def _continued(tokenizer: Any, response: Response, ids: Sequence[int]) -> str:
    """Prompt and response as one text, with the space between them that the tokens stand for."""
    prompt = decoded(tokenizer, response.prompt_ids)
    both = decoded(tokenizer, [*response.prompt_ids, *ids])
    if both.startswith(prompt):  # keep the prompt as it is, whatever its tokens make of it
        return response.prompt + both.removeprefix(prompt)
    return both
