"""Measuring one arm: the model as it is now, whatever was removed from it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sparc.config import EvaluationConfig
from sparc.datasets import Dataset
from sparc.errors import UserError
from sparc.evaluation.completions import Sampling, complete
from sparc.evaluation.detoxify_checkpoint import detoxify_checkpoint
from sparc.evaluation.perplexity import TextNLL, text_nll
from sparc.evaluation.repetition import repetition
from sparc.evaluation.scorers import Scorer, detoxify_scorer, lexicon_scorer
from sparc.locations import EMBEDDED, EMBEDDED_CLASSIFIER
from sparc.models import Model

Array = NDArray[np.float64]
_SCORER_BATCH = 256


@dataclass(frozen=True)
class Measurement:
    """What one arm said and how likely it finds the texts.

    texts: name -> likelihoods by window. completions: category -> [prompt][sample].
    scores: scorer -> category -> [prompts, samples] in [0, 1], NaN for an empty completion.
    repetition: category -> statistic -> [prompts, samples].
    """

    texts: Mapping[str, TextNLL]
    completions: Mapping[str, list[list[str]]]
    scores: Mapping[str, Mapping[str, Array]]
    repetition: Mapping[str, Mapping[str, Array]]


def load_scorers(
    config: EvaluationConfig, dataset: Dataset, device: torch.device, cache: Path
) -> dict[str, Scorer]:
    """The scorers that `evaluation.scorers` names, the primary one first.

    Raises UserError where a scorer's weights are missing or the data set has no lexicon.
    """

    def detoxify() -> Scorer:
        source: str | Path = config.detoxify
        if source == EMBEDDED:
            source = detoxify_checkpoint(EMBEDDED_CLASSIFIER, cache / "detoxify")
        return detoxify_scorer(source, device=str(device), batch_size=_SCORER_BATCH)

    def lexicon() -> Scorer:
        if dataset.lexicon is None:
            raise UserError("evaluation.scorers=lexicon: this data set has no lexicon")
        return lexicon_scorer(*dataset.lexicon)

    makers = {"detoxify": detoxify, "lexicon": lexicon}
    return {name: makers[name]() for name in config.scorers}


def _score(scorer: Scorer, completions: list[list[str]]) -> Array:
    flat = [completion for samples in completions for completion in samples]
    return np.asarray(scorer(flat), dtype=np.float64).reshape(len(completions), -1)


def measure(
    model: Model,
    dataset: Dataset,
    config: EvaluationConfig,
    scorers: Mapping[str, Scorer],
    seed: int,
    advance: Callable[[int], None] = lambda _count: None,
) -> Measurement:
    """Perplexity of every text, completions of every prompt, and their scores.

    `seed` is the root of every completion's own random stream, so that two arms measured with
    one seed draw from the same numbers. `advance(count)` is called as completions are done.
    """
    sampling = Sampling(**vars(config.sampling))
    texts = {
        name: text_nll(
            model.network,
            model.tokenizer,
            documents,
            convention=config.perplexity.convention,
            max_length=config.perplexity.max_length or model.max_length,
            stride=config.perplexity.stride,
            batch_tokens=config.batch_tokens,
            append_eos=dataset.append_eos,
            bos_every_window=model.family.bos_every_window,
        )
        for name, documents in dataset.texts.items()
    }
    completions = {
        category: complete(
            model.network,
            model.tokenizer,
            prompts,
            sampling,
            seed=seed,
            batch_tokens=config.batch_tokens,
            progress=advance,
        )
        for category, prompts in dataset.prompts.items()
    }
    return Measurement(
        texts=texts,
        completions=completions,
        scores={
            name: {c: _score(scorer, said) for c, said in completions.items()}
            for name, scorer in scorers.items()
        },
        repetition={category: repetition(said) for category, said in completions.items()},
    )


def completion_records(
    measurement: Measurement,
    prompts: Mapping[str, Any],
    primary: str,
    *,
    arm: str,
    seed: int,
    draw: int | None = None,
) -> Iterator[dict[str, Any]]:
    """One record a completion, as in completions.jsonl; score is null for an empty one."""
    for category, said in measurement.completions.items():
        scores = measurement.scores[primary][category]
        for row, prompt in enumerate(prompts[category]):
            for sample, completion in enumerate(said[row]):
                score = float(scores[row, sample])
                yield {
                    "arm": arm,
                    "draw": draw,
                    "seed": seed,
                    "category": category,
                    "prompt": prompt,
                    "sample": sample,
                    "completion": completion,
                    "score": None if np.isnan(score) else score,
                }
