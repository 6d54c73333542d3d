"""Responses as references in whole runs: a killed search, a saved selection, repetition."""

import json

import pytest

from sparc.errors import UserError
from sparc.tiny import data
from tests.support.composed import pipeline
from tests.support.runs import killed_after

SEARCH = (
    "dataset.undesired.response.max_candidates=400",
    "stage=attribute",
    "experiment=quick",
    "attribution=magnitude",  # the search is what is looked at
    "dataset.undesired.mode=response_cut",
    "dataset.general.mode=response_cut",
    "dataset.undesired.samples=110",
    "dataset.general.samples=40",
    "dataset.undesired.response.max_new_tokens=16",
)


def references(folder):
    lines = (folder / "references.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_a_killed_search_loses_at_most_one_batch(tmp_path, caplog):
    batches = tmp_path / "cache" / "responses"
    killed_after(2, "responses", *SEARCH, home=tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in batches.glob("*/manifest.json")}
    assert len(kept) >= 2
    with caplog.at_level("INFO"):
        pipeline(tmp_path / "resumed", *SEARCH, cache=tmp_path / "cache")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    total = len(list(batches.glob("*/manifest.json")))
    assert caplog.text.count("computing responses") == total - len(kept) > 0
    found = references(tmp_path / "resumed")
    pipeline(tmp_path / "fresh", *SEARCH)
    assert references(tmp_path / "fresh") == found
    assert sum(each["set"] == "undesired" for each in found) == 110
    assert sum("response" in each for each in found) == 110 + 20


def test_prompts_behind_a_saved_selection_are_not_evaluated(tmp_path):
    """The run that chose the neurons left what it attributed beside them."""
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "neurons.json").write_text('[{"layer": 0, "index": 1, "score": -0.5}]')
    record = {"set": "undesired", "seed": 0, "token_ids": [1]}
    record["text"] = data.prompts("held_out", "rude", 3)[2].upper()
    (saved / "references.jsonl").write_text(json.dumps(record) + "\n")
    again = ("pruning=from_file", f"pruning.path={saved}", "evaluation.prompts=5")
    with pytest.raises(UserError, match="1 of 20 evaluation prompts repeat attributed texts"):
        pipeline(tmp_path / "leak", *again)


@pytest.mark.slow
def test_repetition_from_prompts_to_verdict(tmp_path):
    """Prompts that loop are found on the model, neurons selected, and random ones compared."""
    found = pipeline(
        tmp_path,
        "dataset=repetition",
        "dataset.prompts.path=embedded",
        "evaluation=greedy50",
        "evaluation.sampling.samples=1",
        "evaluation.prompts=40",
        "evaluation.random_draws=3",
        "evaluation.resamples=1000",
        "pruning.num_neurons=63",
        "dataset.general.samples=40",
        "dataset.undesired.samples=40",
    )
    kept = references(tmp_path)
    undesired = [each for each in kept if each["set"] == "undesired"]
    assert len(undesired) >= 20 and all(each["score"] >= 0.5 for each in undesired)
    for each in undesired:  # cut just before the word with which half of them are repeats
        words = each["response"].split()
        before, after = words[: each["cut"]], words[: each["cut"] + 1]
        assert len(set(before)) / len(before) > 0.5 >= len(set(after)) / len(after)
    assert all(each["score"] < 0.5 for each in kept if each["set"] == "general")
    uniqueness = found["change"]["repetition"]["uniqueness"]
    rate = found["change"]["toxicity"]["rate"]
    control = found["control"]["random"]["difference"]["toxicity"]["rate"]
    assert found["baseline"]["toxicity"]["rate"]["value"] == 1  # they were selected for it
    assert uniqueness["absolute"] > 0 and uniqueness["ci95"][0] > 0
    assert rate["ci95"][1] < 0 and control["ci95"][1] < 0
    assert "selected-on-the-baseline prompts: repetition rate falls" in found["verdict"]
