"""Measuring one arm: the model as it is now, whatever was removed from it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from sparc.config import EvaluationConfig
from sparc.errors import UserError
from sparc.evaluation.harness import asking, harness_key
from sparc.evaluation.perplexity import TextNLL, assert_sane_baseline, reading, text_nll
from sparc.evaluation.resampling import Array
from sparc.generation.completing import complete, completing, end_tokens
from sparc.generation.inference import Advance, ignore
from sparc.generation.repetition import repetition
from sparc.generation.scorers import Scorer
from sparc.models.batching import BatchTokens, OutOfMemory
from sparc.models.model import Model
from sparc.storage.digests import digest
from sparc.tasks.dataset import Dataset

_FORMULA_VERSION = 2  # raised when a formula changes, so that nothing older is read


@dataclass(frozen=True)
class Measurement:
    """What one arm said and how likely it finds the texts."""

    texts: Mapping[str, TextNLL]
    """name -> likelihoods by window"""
    completions: Mapping[str, list[list[str]]]
    """category -> [prompt][sample]"""
    scores: Mapping[str, Mapping[str, Array]]
    """scorer -> category -> [prompts, samples] in [0, 1], NaN for an empty completion"""
    repetition: Mapping[str, Mapping[str, Array]]
    """category -> statistic -> [prompts, samples]"""
    failed: Mapping[str, int] = field(default_factory=dict)
    """category -> completions that could not be made (they are empty)"""
    accuracies: Mapping[str, Array] = field(default_factory=dict)
    """"task/metric" -> [documents]"""

    def empty(self) -> dict[str, int]:
        """category -> completions without a word, failed ones left out."""
        return {
            category: sum(not text.strip() for samples in said for text in samples)
            - self.failed.get(category, 0)
            for category, said in self.completions.items()
        }


@dataclass(frozen=True)
class Evaluation:
    """Everything an arm is measured with."""

    model: Model
    dataset: Dataset
    config: EvaluationConfig
    scorers: Mapping[str, Scorer]
    seed: int
    """The root of every completion's own stream."""

    @cached_property
    def completing(self) -> BatchTokens:
        """What a batch of completions may take, the same for all arms."""
        return completing(self.config.batch_tokens)

    @cached_property
    def reading(self) -> BatchTokens:
        """What a batch of windows for perplexity may take, the same for all arms."""
        return reading(self.config.perplexity.batch_tokens)

    @cached_property
    def asking(self) -> BatchTokens:
        """How many requests of lm-evaluation-harness go together, the same for all arms."""
        return asking(self.config.lm_eval)

    @property
    def completions(self) -> int:
        """How many completions one arm makes."""
        prompts = sum(len(each) for each in self.dataset.prompts.values())
        return prompts * self.config.sampling.samples

    @cached_property
    def key(self) -> dict[str, Any]:
        """All that changes a measurement, and nothing else.

        Kind of device, attention and batch size are part of it: they change the last digits, and
        with no neuron removed nothing at all must change. Asked once: the scorers are those that
        were loaded, whatever has come to lie in their place since.
        """
        model, config, dataset = self.model, self.config, self.dataset
        parts = [*dataset.prompts.values(), *dataset.texts.values()]
        documents = [text for part in parts for text in part]
        tokens = model.tokenizer(documents, verbose=False)["input_ids"] if documents else []
        return {
            **model.key,
            "device": [model.device.type, config.scorer_device],
            "tokens": digest(tokens),
            "ends": end_tokens(model.network, model.tokenizer),
            "data": dataset.revision(),
            "append_eos": dataset.append_eos,
            "sampling": asdict(config.sampling),
            "perplexity": asdict(config.perplexity),
            "batch_tokens": config.batch_tokens,
            "scorers": {name: each.content for name, each in self.scorers.items()},
            "lm_eval": harness_key(config.lm_eval),
            "seed": self.seed,
            "formula": _FORMULA_VERSION,
        }


def measure_baseline(evaluation: Evaluation, advance: Advance = ignore) -> Measurement:
    """The unpruned model. Raises UserError where it does not model one of the texts at all."""
    texts = _likelihoods(evaluation)
    for name, text in texts.items():
        assert_sane_baseline(name, text)
    said = {
        category: _complete(evaluation, prompts, advance)
        for category, prompts in evaluation.dataset.prompts.items()
    }
    return _measurement(evaluation, texts, said, {})


def measure(evaluation: Evaluation, advance: Advance = ignore) -> Measurement:
    """The model with neurons removed.

    Completions that fail stop the run, or are empty and counted, as `evaluation.on_failure` says.
    """
    said: dict[str, list[list[str]]] = {}
    failed: dict[str, int] = {}
    for category, prompts in evaluation.dataset.prompts.items():
        said[category], failed[category] = _whatever_can_be(evaluation, prompts, advance)
    return _measurement(evaluation, _likelihoods(evaluation), said, failed)


def _measurement(
    evaluation: Evaluation,
    texts: Mapping[str, TextNLL],
    said: Mapping[str, list[list[str]]],
    failed: Mapping[str, int],
) -> Measurement:
    return Measurement(
        texts=texts,
        completions=said,
        scores={
            name: {category: _score(scorer, each) for category, each in said.items()}
            for name, scorer in evaluation.scorers.items()
        },
        repetition={category: repetition(each) for category, each in said.items()},
        failed=failed,
    )


def _likelihoods(evaluation: Evaluation) -> dict[str, TextNLL]:
    model, config = evaluation.model, evaluation.config
    return {
        name: text_nll(
            model.network,
            model.tokenizer,
            documents,
            convention=config.perplexity.convention,
            max_length=config.perplexity.max_length or model.max_length,
            stride=config.perplexity.stride,
            batch_tokens=evaluation.reading,
            append_eos=evaluation.dataset.append_eos,
            bos_every_window=model.family.bos_every_window,
        )
        for name, documents in evaluation.dataset.texts.items()
    }


def _complete(evaluation: Evaluation, prompts: Sequence[str], advance: Advance) -> list[list[str]]:
    return complete(
        evaluation.model.network,
        evaluation.model.tokenizer,
        prompts,
        evaluation.config.sampling,
        seed=evaluation.seed,
        batch_tokens=evaluation.completing,
        advance=advance,
    )


def _whatever_can_be(
    evaluation: Evaluation, prompts: Sequence[str], advance: Advance
) -> tuple[list[list[str]], int]:
    """Completions [prompt][sample], empty where they fail, and how many failed.

    The baseline took the same prompts, so what fails here is the model without its neurons.
    """
    try:
        return _complete(evaluation, prompts, advance), 0
    except OutOfMemory:  # not the model's failure
        raise
    except UserError as error:
        if evaluation.config.on_failure == "stop":
            raise UserError(
                f"after removing neurons: {error} (evaluation.on_failure=count goes on)"
            ) from error
    if len(prompts) == 1:
        samples = evaluation.config.sampling.samples
        return [[""] * samples], samples
    # a prompt's completions are the same alone and among others
    alone = [_whatever_can_be(evaluation, [prompt], ignore) for prompt in prompts]
    return [said for (said,), _ in alone], sum(failed for _, failed in alone)


def _score(scorer: Scorer, completions: list[list[str]]) -> Array:
    flat = [completion for samples in completions for completion in samples]
    return np.asarray(scorer(flat), dtype=np.float64).reshape(len(completions), -1)


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
