"""Repetition as the behaviour: prompts after which this model's greedy decoding loops.

SparC3 (section 4.3, appendix F.2) takes prompts whose Response Uniqueness Ratio r, distinct tokens
over tokens of 50 greedily decoded ones, is at most 0.5. Here r counts words.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sparc.behaviours.candidates import candidates
from sparc.behaviours.files import draw, perplexity_texts
from sparc.behaviours.prompts import split_of
from sparc.behaviours.reading import texts
from sparc.config import DatasetConfig, EvaluationConfig
from sparc.datasets import GENERAL, UNDESIRED, Dataset, Reference
from sparc.errors import UserError
from sparc.evaluation.completions import Sampling, complete
from sparc.evaluation.repetition import uniqueness
from sparc.models import Model

_NEW_TOKENS = 50
_FEWEST = 5  # fewer prompts carry no statement


@dataclass(frozen=True)
class _Candidate:
    prompt: str
    response: str
    split: str
    loops: bool


def repetition(config: DatasetConfig, evaluation: EvaluationConfig) -> Dataset:
    """Candidate prompts; which of them loop is found out on the model (`Dataset.on_model`).

    They are those written for the project, or the texts of `dataset.prompts.path`. The two
    categories are the undesired one (r <= `dataset.uniqueness`) and the neutral one (all others).
    References end after the prompt (`prompt`), after the response (`whole`), or just before the
    word with which r falls that low (`cut`; general ones at any word of the response).
    """
    path = config.prompts.path
    prompts = candidates() if path is None else texts(path, config.prompts.column)
    prompts = list(dict.fromkeys(prompts))

    def on_model(model: Model) -> Dataset:
        return _fitted(config, evaluation, _responses(model, prompts, config, evaluation))

    def unknown(_name: str, _seed: int) -> Sequence[Reference]:
        raise RuntimeError("which prompts loop is not known before the model is loaded")

    return Dataset(references=unknown, prompts={}, texts={}, on_model=on_model)


def cut_before_loop(response: str, at_most: float) -> str:
    """The response up to the word with which its uniqueness first falls to `at_most`."""
    words = response.split()
    for count in range(1, len(words) + 1):
        if uniqueness(words[:count]) <= at_most:
            return " ".join(words[: count - 1])
    return response


def _responses(
    model: Model, prompts: list[str], config: DatasetConfig, evaluation: EvaluationConfig
) -> list[_Candidate]:
    # what is not looked at need not be completed
    placed = [(prompt, split_of(prompt)) for prompt in prompts]
    placed = [each for each in placed if each[1] in ("attribution", evaluation.split)]
    said = complete(
        model.network,
        model.tokenizer,
        [prompt for prompt, _ in placed],
        Sampling(samples=1, max_new_tokens=_NEW_TOKENS, temperature=0),
        seed=0,
        batch_tokens=evaluation.batch_tokens,
    )
    return [
        _Candidate(prompt, text, split, bool(uniqueness(text.split()) <= config.uniqueness))
        for (prompt, split), (text,) in zip(placed, said, strict=True)
    ]


def _fitted(
    config: DatasetConfig, evaluation: EvaluationConfig, found: list[_Candidate]
) -> Dataset:
    for split in ("attribution", evaluation.split):
        here = [each.loops for each in found if each.split == split]
        for what, count in (("loop", sum(here)), ("do not loop", len(here) - sum(here))):
            if count < _FEWEST:
                raise UserError(
                    f"{count} of {len(here)} candidate prompts of split {split} {what} on this "
                    f"model, {_FEWEST} are needed: give more in dataset.prompts.path, or change "
                    f"dataset.uniqueness={config.uniqueness:g}"
                )
    if config.neutral_category is None:
        raise UserError("dataset.neutral_category is not set: name the prompts that do not loop")

    def evaluated(loops: bool) -> list[str]:
        chosen = [c.prompt for c in found if c.split == evaluation.split and c.loops == loops]
        return chosen[: evaluation.prompts]

    neutral = evaluated(False)
    return Dataset(
        references=_references(config, [each for each in found if each.split == "attribution"]),
        prompts={config.undesired_category: evaluated(True), config.neutral_category: neutral},
        texts=perplexity_texts(config, evaluation, neutral),
    )


def _references(
    config: DatasetConfig, found: list[_Candidate]
) -> Callable[[str, int], Sequence[Reference]]:
    def text(candidate: _Candidate, mode: str) -> str:
        if mode == "prompt":
            return candidate.prompt
        response = candidate.response
        if mode == "cut" and candidate.loops:
            response = cut_before_loop(response, config.uniqueness)
        return f"{candidate.prompt} {response.strip()}".strip()

    def references(name: str, seed: int) -> list[Reference]:
        settings = config.undesired if name == UNDESIRED else config.general
        chosen = [each for each in found if each.loops == (name == UNDESIRED)]
        if name == GENERAL and settings.path is not None:
            pool = texts(settings.path, settings.column, 10_000)
        else:
            pool = [text(each, settings.mode) for each in chosen]
        if name == UNDESIRED:
            settings = replace(settings, mode="whole")  # cut already, at the loop
        rng = random.Random(f"sparc {name} references {seed}")
        return [Reference(text) for text in draw(pool, settings, rng)]

    return references
