"""Measuring one arm: the model as it is now, whatever was removed from it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from sparc.config import EvaluationConfig
from sparc.errors import UserError
from sparc.evaluation.harness import accuracies, asking, harness_key
from sparc.evaluation.perplexity import TextNLL, assert_sane_baseline, reading, text_nll
from sparc.evaluation.resampling import Array
from sparc.evaluation.windows import WindowSettings
from sparc.generation.completing import complete_tokens, completing, decoded, end_tokens
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
    failed: Mapping[str, int] = field(default_factory=dict)
    """category -> completions that could not be made (they are empty)"""
    accuracies: Mapping[str, Array] = field(default_factory=dict)
    """"task/metric" -> [documents]"""

    @cached_property
    def repetition(self) -> dict[str, dict[str, Array]]:
        """category -> statistic -> [prompts, samples]"""
        return {category: repetition(said) for category, said in self.completions.items()}

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
    def rooms(self) -> dict[str, BatchTokens]:
        """What batches may take, the same for all arms."""
        return {
            "completions": completing(self.config.batch_tokens),
            "windows": reading(self.config.perplexity.batch_tokens),
            "requests": asking(self.config.lm_eval),
        }

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
            "ends": end_tokens(model),
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


def measure(
    evaluation: Evaluation,
    advance: Advance = ignore,
    *,
    baseline: bool = False,
    tasks: bool = False,
) -> Measurement:
    """The model as it is now, with `tasks` also on those of lm-evaluation-harness.

    For the `baseline` nothing was removed: texts that the model does not model at all are refused.
    Otherwise `evaluation.on_failure` says what becomes of completions that fail.
    """
    model, config, dataset = evaluation.model, evaluation.config, evaluation.dataset
    texts = {name: likelihood(evaluation, documents) for name, documents in dataset.texts.items()}
    if baseline:
        for name, text in texts.items():
            assert_sane_baseline(name, text)
    made = {
        category: _complete(evaluation, prompts, advance, stop=baseline)
        for category, prompts in dataset.prompts.items()
    }
    said = {category: completions for category, (completions, _) in made.items()}
    return Measurement(
        texts=texts,
        completions=said,
        scores={
            name: {category: _score(scorer, each) for category, each in said.items()}
            for name, scorer in evaluation.scorers.items()
        },
        failed={category: failed for category, (_, failed) in made.items()},
        accuracies=accuracies(model, config.lm_eval, evaluation.rooms["requests"]) if tasks else {},
    )


def likelihood(evaluation: Evaluation, documents: Sequence[str]) -> TextNLL:
    """How likely the model as it is now finds one text."""
    model, config = evaluation.model, evaluation.config.perplexity
    how = WindowSettings(
        config.convention,
        config.max_length or model.max_length,
        config.stride,
        append_eos=evaluation.dataset.append_eos,
        bos_every_window=model.family.bos_every_window,
    )
    return text_nll(model, documents, how, evaluation.rooms["windows"])


def _complete(
    evaluation: Evaluation, prompts: Sequence[str], advance: Advance, *, stop: bool
) -> tuple[list[list[str]], int]:
    """Completions [prompt][sample], and how many failed: these are empty, unless told to stop.

    The baseline took the same prompts, so what fails later is the model without its neurons.
    """
    model, sampling = evaluation.model, evaluation.config.sampling
    try:
        room = evaluation.rooms["completions"]
        tokens = complete_tokens(
            model, prompts, sampling, seed=evaluation.seed, room=room, advance=advance
        )
        return [[decoded(model.tokenizer, ids) for ids in samples] for samples in tokens], 0
    except UserError as error:
        if stop or isinstance(error, OutOfMemory):  # not the model's failure
            raise
        if evaluation.config.on_failure == "stop":
            raise UserError(
                f"after removing neurons: {error} (evaluation.on_failure=count goes on)"
            ) from error
    if len(prompts) == 1:
        return [[""] * sampling.samples], sampling.samples
    # a prompt's completions are the same alone and among others
    alone = [_complete(evaluation, [prompt], ignore, stop=False) for prompt in prompts]
    return [said for (said,), _ in alone], sum(failed for _, failed in alone)


def _score(scorer: Scorer, completions: list[list[str]]) -> Array:
    flat = [completion for samples in completions for completion in samples]
    return np.asarray(scorer(flat), dtype=np.float64).reshape(len(completions), -1)
