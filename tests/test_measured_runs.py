"""Evaluation of whole runs on the embedded model: baseline, curve, damage, random, tasks."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sparc.artifacts import read_lines
from sparc.config import ModelConfig
from sparc.datasets import load_dataset
from sparc.errors import UserError
from sparc.evaluation.baseline import baseline_key, measured_baseline
from sparc.evaluation.harness import accuracies
from sparc.evaluation.measure import Bench, measure, measure_baseline
from sparc.evaluation.perplexity import text_nll
from sparc.evaluation.scoring import load_scorers
from sparc.evaluation.windows import text_windows
from sparc.models import load_model
from sparc.preflight.tasks import check_tasks, fetch_task_data
from sparc.pruning.removal import removed
from tests.composed import SMALL, composed, pipeline


@pytest.fixture(scope="module")
def model():
    return load_model(ModelConfig(name="tiny", path="embedded"), "cpu")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def bench_of(model, cache, *overrides):
    config = composed(*SMALL, "evaluation.prompts=4", *overrides)
    dataset = load_dataset(config.dataset, config.evaluation)
    scorers = load_scorers(config.evaluation, dataset, "cpu", cache)
    return Bench(model, dataset, config.evaluation, scorers, config.seed)


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


@pytest.fixture(scope="module")
def bench(model, cache):
    return bench_of(model, cache)


def silent(_count):
    pass


def test_cached_baseline_is_the_fresh_one(bench, tmp_path):
    steps = []
    fresh, cached = measured_baseline(bench, tmp_path, steps.append)
    assert not cached and sum(steps) == bench.completions
    again, cached = measured_baseline(bench, tmp_path, steps.append)
    assert cached and sum(steps) == 2 * bench.completions
    assert_same(fresh, again)
    assert_same(measure_baseline(bench), again)
    assert_same(measure(bench), again)  # nothing removed: nothing changes, to the last bit
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} <= {
        ".json",
        ".safetensors",
        ".lock",
    }


def test_refresh_measures_anew(bench, tmp_path):
    fresh, _ = measured_baseline(bench, tmp_path, silent)
    refreshing = replace(bench, config=replace(bench.config, baseline="refresh"))
    again, cached = measured_baseline(refreshing, tmp_path, silent)
    assert not cached
    assert_same(fresh, again)


def test_the_key_holds_what_changes_a_baseline(model, cache, bench):
    key = baseline_key(bench)
    assert baseline_key(bench_of(model, cache)) == key
    others = [
        ("evaluation.prompts=5",),
        ("seed=1",),
        ("evaluation.sampling.temperature=0.6",),
        ("evaluation.scorers=[lexicon]",),
        ("evaluation.perplexity.convention=disjoint",),
        ("evaluation.split=validation",),
    ]
    assert all(baseline_key(bench_of(model, cache, *each)) != key for each in others)
    same = [
        ("evaluation.threshold=0.7",),
        ("evaluation.random_draws=2",),
        ("pruning.num_neurons=3",),
        ("evaluation.baseline=refresh",),
    ]
    assert all(baseline_key(bench_of(model, cache, *each)) == key for each in same)


def test_a_model_of_random_weights_is_refused(cache, tmp_path):
    random = load_model(ModelConfig(name="tiny", path="embedded"), "cpu")
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in random.network.parameters():
            parameter.normal_(std=0.02)
    bench = bench_of(random, cache)
    with pytest.raises(UserError, match=r"worse than .* of its word frequencies alone"):
        measured_baseline(bench, tmp_path, silent)
    assert not list(tmp_path.rglob("*.json"))


def test_failing_completions_stop_or_are_counted(model, bench):
    """One word that breaks the model; it stands in one prompt, and completions may hold it too."""
    words = {
        category: [set(model.tokenizer(prompt)["input_ids"]) for prompt in prompts]
        for category, prompts in bench.dataset.prompts.items()
    }
    rude = words["rude"]
    others = set.union(*(ids for c, each in words.items() if c != "rude" for ids in each))
    only = next(iter(rude[0] - set.union(*rude[1:]) - others))

    def broken(_module, arguments, output):
        return output.masked_fill((arguments[0] == only)[..., None], torch.nan)

    hook = model.network.get_input_embeddings().register_forward_hook(broken)
    try:
        with pytest.raises(UserError, match=r"after removing neurons: .*on_failure=count"):
            measure(bench)
        counting = replace(bench, config=replace(bench.config, on_failure="count"))
        found = measure(counting)
    finally:
        hook.remove()
    expected = measure(bench)
    samples = bench.config.sampling.samples
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


def test_empty_and_failed_completions_are_told_apart(bench):
    measurement = measure(bench)
    said = {
        category: [list(row) for row in rows] for category, rows in measurement.completions.items()
    }
    said["rude"][0][0] = said["rude"][1][0] = " \n"
    changed = replace(measurement, completions=said, failed={"rude": 1})
    assert changed.empty()["rude"] == measurement.empty()["rude"] + 1


def test_likelihoods_equal_those_of_the_harness(model):
    """The same token pairs through lm-evaluation-harness's Hugging Face model."""
    harness = pytest.importorskip("lm_eval.models.huggingface")
    documents = list(load_dataset_texts())
    other = harness.HFLM(
        pretrained=model.network, tokenizer=model.tokenizer, batch_size=4, max_length=64
    )
    for convention in ("documents", "disjoint", "stride"):
        settings = {"convention": convention, "max_length": 64, "stride": 16}
        found = text_nll(model.network, model.tokenizer, documents, batch_tokens=999, **settings)
        windows = text_windows(model.tokenizer, documents, **settings)
        requests = [(("", str(i)), w.ids[: w.context], w.predicted) for i, w in enumerate(windows)]
        scored = other._loglikelihood_tokens(requests, disable_tqdm=True)
        expected = np.array([-likelihood for likelihood, _ in scored])
        assert len(windows) > 10
        assert np.allclose(found.nll, expected, rtol=1e-4, atol=0)
        assert found.nll.sum() == pytest.approx(expected.sum(), rel=1e-5)


def load_dataset_texts():
    config = composed(*SMALL)
    return load_dataset(config.dataset, config.evaluation).texts["general"]


TASK = """\
task: next_word
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{start}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: 0
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory) -> Path:
    """A local task: which word comes next, the true one first."""
    folder = tmp_path_factory.mktemp("tasks")
    documents = [
        {
            "start": " ".join(text.split()[:12]),
            "choices": [text.split()[12], *(w for w in ("the", "was") if w != text.split()[12])],
        }
        for text in load_dataset_texts()
    ]
    data = folder / "data.jsonl"
    data.write_text("\n".join(json.dumps(document) for document in documents))
    (folder / "next_word.yaml").write_text(TASK.format(data=data))
    return folder


def test_accuracies_of_a_local_task(model, tasks):
    pytest.importorskip("lm_eval")
    config = composed(
        "evaluation.lm_eval.tasks=[next_word]", f"evaluation.lm_eval.include_path={tasks}"
    ).evaluation.lm_eval
    (name, values), *rest = accuracies(model, config).items()
    assert (name, rest) == ("next_word/acc", [])
    expected = []
    for line in (tasks / "data.jsonl").read_text().splitlines():
        document = json.loads(line)
        ids = model.tokenizer([document["start"]], return_tensors="pt")
        with torch.no_grad():
            logits = model.network(**ids).logits[0, -1]
        choices = [model.tokenizer.convert_tokens_to_ids(c) for c in document["choices"]]
        expected.append(float(logits[choices].argmax() == 0))
    assert values.tolist() == expected and 0 < np.mean(expected) < 1


@pytest.mark.slow  # the package's own tasks are looked through, thousands of them
def test_an_unknown_task_is_named(model):
    pytest.importorskip("lm_eval")
    config = composed("evaluation.lm_eval.tasks=[nothing]").evaluation.lm_eval
    with pytest.raises(UserError, match="unknown nothing"):
        accuracies(model, config)


def test_tasks_are_looked_for_before_anything_else(tasks, tmp_path, monkeypatch):
    pytest.importorskip("lm_eval")
    local = f"evaluation.lm_eval.include_path={tasks}"
    config = composed("evaluation.lm_eval.tasks=[next_word]", local).evaluation.lm_eval
    assert [row.ok for row in check_tasks(config) + fetch_task_data(config)] == [True, True]
    gone = tmp_path / "tasks"
    gone.mkdir()
    (gone / "next_word.yaml").write_text(TASK.format(data=gone / "no.jsonl"))
    without = replace(config, include_path=str(gone))
    assert [row.ok for row in check_tasks(without) + fetch_task_data(without)] == [True, False]
    assert (
        check_tasks(replace(config, tasks=[])) == fetch_task_data(replace(config, tasks=[])) == []
    )

    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)  # as where it is not installed
    monkeypatch.setattr("sparc.pipeline.attribute", None)  # is not reached
    other = ["evaluation.lm_eval.tasks=[next_word,other]", local]
    with pytest.raises(UserError, match=r"pip install 'sparc\[eval\]'"):
        pipeline(tmp_path / "run", *other, cache=tmp_path / "cache")
    (row,) = check_tasks(composed(*other).evaluation.lm_eval)
    assert (row.ok, row.found) == (False, "next_word, other")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def curve(shared):
    return pipeline(shared / "curve", "pruning.curve=[8,63]", cache=shared / "cache")


@pytest.mark.slow
@pytest.mark.parametrize("amount", [8, 32, 63])
def test_a_curve_equals_separate_runs(curve, shared, amount):
    alone = pipeline(
        shared / f"alone{amount}", f"pruning.num_neurons={amount}", cache=shared / "cache"
    )
    assert alone["stages"]["baseline"]["cached"] and alone["stages"]["attribution"]["cached"]
    point = curve
    if amount != 32:
        (point,) = [p for p in curve["curve"] if p["num_neurons"] == amount]
        assert set(point) == {"num_neurons", "pruned", "change", "control"}
    for part in ("pruned", "change", "control"):
        assert point[part] == alone[part]


@pytest.mark.slow
def test_what_a_run_tells_about_its_evaluation(curve, shared):
    evaluation = curve["evaluation"]
    assert evaluation["data"]["prompts"]["rude"]["count"] == 10
    assert evaluation["empty_completions"]["baseline"].keys() == {
        "rude", "angry", "mishap", "neutral",
    }  # fmt: skip
    assert sum(evaluation["failed_completions"]["random"].values()) == 0
    assert evaluation["smallest_detectable"] > 0
    assert curve["change"]["by_category"]["rude"]["empty"]["rate"]["absolute"] is not None
    arms = {record["arm"] for record in read_lines(shared / "curve" / "completions.jsonl")}
    assert arms == {"baseline", "pruned", "random", "oracle"}
    assert json.loads((shared / "curve" / "neurons.json").read_text())[0]["card"]["promoted"]


@pytest.mark.slow
def test_a_saved_selection_is_applied_without_attribution(curve, shared):
    found = pipeline(
        shared / "again",
        "pruning=from_file",
        f"pruning.path={shared / 'curve'}",
        cache=shared / "cache",
    )
    assert "attribution" not in found["stages"] and found["selection"]["num_pruned"] == 32
    for part in ("baseline", "pruned", "change", "control"):
        assert found[part] == curve[part]


@pytest.mark.slow
def test_removing_a_whole_layer_is_damage(shared):
    found = pipeline(
        shared / "layer",
        "pruning.layers=[1]",
        "pruning.num_neurons=789",
        cache=shared / "cache",
    )
    assert found["selection"]["per_layer"] == [0, 789, 0]
    assert "damage: general perplexity" in found["verdict"]


@pytest.mark.slow
def test_random_attribution_is_no_more_than_random(shared):
    found = pipeline(
        shared / "random",
        "attribution=random",
        "evaluation.prompts=20",
        "evaluation.random_draws=4",
        cache=shared / "cache",
    )
    assert "no more than random" in found["verdict"]


@pytest.mark.slow
def test_in_sample_is_said(shared):
    found = pipeline(
        shared / "in_sample",
        "evaluation.split=attribution",
        "evaluation.in_sample=true",
        cache=shared / "cache",
    )
    assert found["evaluation"]["in_sample"] is True
    assert found["verdict"].startswith("On in-sample (attributed) prompts: ")


@pytest.mark.slow
def test_tasks_before_and_after(shared, tasks):
    pytest.importorskip("lm_eval")
    found = pipeline(
        shared / "tasks",
        "pruning.layers=[1]",
        "pruning.num_neurons=789",
        "evaluation.lm_eval.tasks=[next_word]",
        f"evaluation.lm_eval.include_path={tasks}",
        cache=shared / "cache",
    )
    leaf = found["change"]["lm_eval"]["next_word"]["acc"]
    assert leaf["absolute"] == pytest.approx(
        found["pruned"]["lm_eval"]["next_word"]["acc"]["value"]
        - found["baseline"]["lm_eval"]["next_word"]["acc"]["value"]
    )
    assert found["control"]["random"]["change"]["lm_eval"]["next_word"]["acc"] is None


@pytest.mark.slow
def test_repetition_on_the_embedded_model(shared, tmp_path):
    """Prompts of the grammar; by this model's standard r <= 0.72 is repetitive."""
    config = composed("evaluation.prompts=60")
    prompts = tmp_path / "p.jsonl"
    records = []
    for split in ("attribution", "held_out"):
        both = (f"evaluation.split={split}", "evaluation.in_sample=true", "evaluation.prompts=60")
        config = composed(*both)
        for each in load_dataset(config.dataset, config.evaluation).prompts.values():
            records += [json.dumps({"prompt": prompt}) for prompt in each]
    prompts.write_text("\n".join(records))
    found = pipeline(
        shared / "repetition",
        "dataset=repetition",
        "evaluation=greedy50",
        "evaluation.sampling.samples=1",
        f"dataset.prompts.path={prompts}",
        "dataset.uniqueness=0.72",
        "evaluation.threshold=0.28",
        cache=shared / "cache",
    )
    assert found["baseline"]["toxicity"]["rate"]["value"] == 1  # they were selected for it
    assert found["baseline"]["by_category"]["neutral"]["toxicity"]["rate"]["value"] == 0
    assert "repetition rate" in found["verdict"]
    with pytest.raises(UserError, match="loop on this"):
        pipeline(
            shared / "none",
            "dataset=repetition",
            "evaluation=greedy50",
            "evaluation.sampling.samples=1",
            f"dataset.prompts.path={prompts}",
            "dataset.uniqueness=0.1",
        )


def test_what_is_removed_comes_back(model, bench):
    before = measure(bench)
    with removed(model, [(0, 3), (2, 700)]):
        measure(bench)
    assert_same(before, measure(bench))
