"""Measurements of the embedded model: kept, made anew, counted where they fail."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sparc.components.neurons import chosen
from sparc.components.removal import removed
from sparc.config import ModelConfig
from sparc.errors import UserError
from sparc.evaluation.cached import measured_arm, measured_baseline
from sparc.evaluation.measure import measure, measure_baseline
from sparc.models.model import load_model
from tests.support.composed import SMALL, pipeline
from tests.support.evaluations import assert_same, evaluation_of, silent
from tests.support.runs import killed_after


@pytest.fixture(scope="module")
def model():
    return load_model(ModelConfig(name="tiny", path="embedded"), "cpu")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def evaluation(model, cache):
    return evaluation_of(model, cache)


def test_cached_baseline_is_the_fresh_one(evaluation, tmp_path):
    steps = []
    fresh, cached = measured_baseline(evaluation, tmp_path, steps.append)
    assert not cached and sum(steps) == evaluation.completions
    again, cached = measured_baseline(evaluation, tmp_path, steps.append)
    assert cached and sum(steps) == 2 * evaluation.completions
    assert_same(fresh, again)
    assert_same(measure_baseline(evaluation), again)
    assert_same(measure(evaluation), again)  # nothing removed: nothing changes, to the last bit
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} <= {
        ".json",
        ".safetensors",
        ".lock",
    }


def test_refresh_measures_anew(evaluation, tmp_path):
    fresh, _ = measured_baseline(evaluation, tmp_path, silent)
    refreshing = replace(evaluation, config=replace(evaluation.config, baseline="refresh"))
    again, cached = measured_baseline(refreshing, tmp_path, silent)
    assert not cached
    assert_same(fresh, again)


def test_the_key_holds_what_changes_a_baseline(model, cache, evaluation):
    key = evaluation.key
    assert evaluation_of(model, cache).key == key
    others = [
        ("evaluation.prompts=5",),
        ("seed=1",),
        ("evaluation.sampling.temperature=0.6",),
        ("evaluation.scorers=[lexicon]",),
        ("evaluation.perplexity.convention=disjoint",),
        ("evaluation.split=validation",),
    ]
    assert all(evaluation_of(model, cache, *each).key != key for each in others)
    same = [
        ("evaluation.threshold=0.7",),
        ("evaluation.random_draws=2",),
        ("pruning.num_neurons=3",),
        ("evaluation.baseline=refresh",),
    ]
    assert all(evaluation_of(model, cache, *each).key == key for each in same)


def test_a_kept_arm_is_the_fresh_one(model, evaluation, tmp_path):
    neurons = chosen(model, [(2, 700), (0, 3)])
    same = chosen(model, [(0, 3), (2, 700)])
    with removed(model, neurons):
        expected = measure(evaluation)
    steps = []
    fresh, cached = measured_arm(evaluation, neurons, tmp_path, steps.append)
    assert not cached
    assert_same(fresh, expected)
    again, cached = measured_arm(evaluation, same, tmp_path, steps.append)
    assert cached and sum(steps) == 2 * evaluation.completions
    assert_same(again, expected)
    refreshing = replace(evaluation, config=replace(evaluation.config, baseline="refresh"))
    others = [
        (evaluation, neurons.first(1), {}),
        (evaluation, neurons.first(0), {}),
        (evaluation, neurons, {"tasks": True}),
    ]
    for each, which, tasks in [*others, (refreshing, neurons, {})]:
        assert not measured_arm(each, which, tmp_path, silent, **tasks)[1]


@pytest.mark.slow
def test_a_killed_evaluation_loses_at_most_one_arm(tmp_path):
    cache, options = tmp_path / "cache", [*SMALL, "evaluation.random_draws=3"]
    killed_after(2, "arms", *options, home=tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in cache.glob("arms/*/manifest.json")}
    assert 2 <= len(kept) < 5
    resumed = pipeline(tmp_path / "resumed", *options, cache=cache)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(list(cache.glob("arms/*/manifest.json"))) == 5  # oracle, pruned, three draws
    fresh = pipeline(tmp_path / "fresh", *options)
    again = pipeline(tmp_path / "again", *options, cache=cache)
    assert again["stages"]["evaluation"]["cached"] and not fresh["stages"]["evaluation"]["cached"]
    for part in ("baseline", "pruned", "change", "control", "verdict"):
        assert fresh[part] == resumed[part] == again[part]


def test_a_model_of_random_weights_is_refused(cache, tmp_path):
    random = load_model(ModelConfig(name="tiny", path="embedded"), "cpu")
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in random.network.parameters():
            parameter.normal_(std=0.02)
    evaluation = evaluation_of(random, cache)
    with pytest.raises(UserError, match=r"worse than .* of its word frequencies alone"):
        measured_baseline(evaluation, tmp_path, silent)
    assert not list(tmp_path.rglob("*.json"))


def test_failing_completions_stop_or_are_counted(model, evaluation, tmp_path):
    """One word that breaks the model; it stands in one prompt, and completions may hold it too."""
    words = {
        category: [set(model.tokenizer(prompt)["input_ids"]) for prompt in prompts]
        for category, prompts in evaluation.dataset.prompts.items()
    }
    rude = words["rude"]
    others = set.union(*(ids for c, each in words.items() if c != "rude" for ids in each))
    only = next(iter(rude[0] - set.union(*rude[1:]) - others))

    def broken(_module, arguments, output):
        return output.masked_fill((arguments[0] == only)[..., None], torch.nan)

    hook = model.network.get_input_embeddings().register_forward_hook(broken)
    try:
        with pytest.raises(UserError, match=r"after removing neurons: .*on_failure=count"):
            measure(evaluation)
        counting = replace(evaluation, config=replace(evaluation.config, on_failure="count"))
        found, _ = measured_arm(counting, chosen(model, []), tmp_path, silent)
    finally:
        hook.remove()
    again, cached = measured_arm(counting, chosen(model, []), tmp_path, silent)
    assert cached and again.failed == found.failed
    assert_same(again, found)
    expected, cached = measured_arm(evaluation, chosen(model, []), tmp_path, silent)
    one = chosen(model, [(0, 1)])
    assert not cached  # evaluation.on_failure=stop does not read what was counted
    assert measured_arm(evaluation, one, tmp_path, silent)[1] is False
    assert measured_arm(counting, one, tmp_path, silent)[1]  # the other way round it does
    samples = evaluation.config.sampling.samples
    assert found.failed["rude"] >= samples
    assert found.completions["rude"][0] == [""] * samples
    assert np.isnan(found.scores["detoxify"]["rude"][0]).all()
    unharmed = [
        (category, row)
        for category, said in found.completions.items()
        for row, texts in enumerate(said)
        if any(texts)
    ]
    assert len(unharmed) > 8
    for category, row in unharmed:
        assert found.completions[category][row] == expected.completions[category][row]


def test_empty_and_failed_completions_are_told_apart(evaluation):
    measurement = measure(evaluation)
    said = {
        category: [list(row) for row in rows] for category, rows in measurement.completions.items()
    }
    said["rude"][0][0] = said["rude"][1][0] = " \n"
    changed = replace(measurement, completions=said, failed={"rude": 1})
    assert changed.empty()["rude"] == measurement.empty()["rude"] + 1


def test_what_is_removed_comes_back(model, evaluation):
    before = measure(evaluation)
    with removed(model, chosen(model, [(0, 3), (2, 700)])):
        measure(evaluation)
    assert_same(before, measure(evaluation))
