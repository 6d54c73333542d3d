"""References that are the model's own completions: whole, or cut where the behaviour would fire.

Undesired ones are found by sampling (`sparc.tasks.search`); of the general set one half are
texts and the other benign completions of the same kind of prompts. A cut benign completion ends at
an offset drawn from those of the undesired cuts, so that the two sets differ in what comes next and
not in how far into a completion it comes.
"""

import functools
import random
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

from sparc.config import (
    GENERAL,
    DatasetConfig,
    EvaluationConfig,
    ReferenceConfig,
    SamplingConfig,
    answers,
    settings_of,
)
from sparc.generation.completing import decoded
from sparc.tasks.dataset import Dataset, Reference
from sparc.tasks.search import Completion, Found, Search, found_completions
from sparc.tasks.tools import Tools


def text_share(config: ReferenceConfig) -> int:
    """How many of a general set are texts: all, or half where the others are completions."""
    return config.samples - config.samples // 2 if answers(config) else config.samples


def completion_search(config: DatasetConfig, evaluation: EvaluationConfig) -> Search:
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


def with_completions(
    dataset: Dataset, tools: Tools, prompts: Sequence[str], config: DatasetConfig, search: Search
) -> Dataset:
    """`dataset` with the model's completions of `prompts` as references, where modes say so.

    Its own references serve as the texts of the general set. The search is made when references
    are first asked for, one for each reference seed, which has its own order and random streams.
    """
    most = max(1, config.undesired.response.max_candidates // search.sampling.samples)
    general = config.general

    @functools.cache
    def found(seed: int) -> Found:
        ordered = list(prompts)
        if config.undesired.order == "random":
            random.Random(f"sparc order of prompts {seed}").shuffle(ordered)
        benign = 0
        if answers(general):
            benign = general.samples - len(dataset.references(GENERAL, seed))
        return found_completions(
            tools,
            replace(search, seed=_stream(search.seed, seed)),
            ordered[:most],
            undesired=config.undesired.samples,
            benign=benign,
        )

    def references(name: str, seed: int) -> Sequence[Reference]:
        texts = dataset.references(name, seed) if name == GENERAL else []
        if name == GENERAL and not answers(general):
            return texts
        chosen = found(seed)
        said = chosen.benign if name == GENERAL else chosen.undesired
        cuts: Sequence[int | None] = [None] * len(said)
        if settings_of(config, name).mode == "response_cut":
            cuts = _offsets(chosen, seed) if name == GENERAL else [each.cut for each in said]
        made = map(functools.partial(_reference, tools.model.tokenizer), said, cuts)
        return [*texts, *made]

    return replace(dataset, references=references, on_model=None)


def _stream(seed: int, reference_seed: int) -> int:
    """The root of the random streams for one reference seed."""
    return int.from_bytes(sha256(f"responses {seed} {reference_seed}".encode()).digest()[:4])


def _offsets(found: Found, seed: int) -> list[int]:
    """Where to cut each benign completion: offsets of undesired cuts, at most its length."""
    rng = random.Random(f"sparc offsets of benign responses {seed}")
    cuts = [each.cut or 0 for each in found.undesired]
    return [min(rng.choice(cuts), len(each.ids)) for each in found.benign]


def _reference(tokenizer: Any, said: Completion, cut: int | None) -> Reference:
    ids = said.prompt_ids + said.ids[:cut]
    # Prompt and completion as one text, with the space between them that the tokens stand for.
    prompt, text = decoded(tokenizer, said.prompt_ids), decoded(tokenizer, ids)
    if text.startswith(prompt):  # keep the prompt as it is, whatever its tokens make of it
        text = said.prompt + text.removeprefix(prompt)
    facts = {"prompt": said.prompt, "response": said.text, "score": said.score, "cut": cut}
    return Reference(text, ids, facts)
