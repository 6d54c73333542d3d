"""Evaluations to measure the embedded model on, and whether two measurements are the same."""

import numpy as np

from sparc.evaluation.measure import Evaluation
from sparc.generation.scorers import load_scorers
from sparc.tasks.dataset import load_dataset
from tests.support.composed import SMALL, composed


def evaluation_of(model, cache, *overrides):
    config = composed(*SMALL, "evaluation.prompts=4", *overrides)
    dataset = load_dataset(config.dataset, config.evaluation)
    scorers = load_scorers(config.evaluation, dataset.lexicon, "cpu", cache)
    return Evaluation(model, dataset, config.evaluation, scorers, config.seed)


def assert_same(one, other):
    assert one.completions == other.completions
    assert one.texts.keys() == other.texts.keys()
    for name, text in one.texts.items():
        assert np.array_equal(text.nll, other.texts[name].nll)
        assert np.array_equal(text.tokens, other.texts[name].tokens)
        assert text.unigram_perplexity == other.texts[name].unigram_perplexity
    for kind in ("scores", "repetition"):
        for name, each in getattr(one, kind).items():
            for category, values in each.items():
                stored = getattr(other, kind)[name][category]
                assert np.array_equal(values, stored, equal_nan=True)


def silent(_count):
    pass
