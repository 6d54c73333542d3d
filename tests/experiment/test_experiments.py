"""Every experiment runs to its end on a planted tiny model, from local files as the hub has them.

The reproduction's selection is also computed as the reproduction did: naively, in a few lines.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from sparc.config.locations import config_folder
from sparc.tiny import data
from tests.support.hub_data import (
    C4,
    TOXICITY,
    WIKITEXT,
    serve_c4,
    serve_toxicity_prompts,
    serve_wikitext,
)
from tests.support.lxt_classes import class_patched
from tests.support.runs import results_of, run_folders, sparc
from tests.support.stand_ins import stand_in

NAMES = {path.stem for path in (config_folder() / "experiment").glob("*.yaml")} - {"quick"}
FAMILY = {
    "toxicity_llama3_8b_reproduction": "llama",
    "toxicity_llama3_8b": "llama",
    "toxicity_tinyllama": "llama",
    "toxicity_opt_125m": "opt",
    "repetition_opt_125m": "opt",
    "quick_opt_125m": "opt",
    "toxicity_gpt2_medium": "gpt2",
}
SMALL = (
    "device=cpu",
    "model.device_map=null",
    "model.dtype=float32",
    "model.threads=1",
    "evaluation.sampling.samples=1",
    "evaluation.perplexity.max_length=128",
    "evaluation.perplexity.documents=30",
    "evaluation.prompts=16",
    "evaluation.random_draws=1",
    "evaluation.resamples=200",
    "pruning.num_neurons=20",
)
TOXIC = (
    "dataset.detoxify=embedded",
    "dataset.reference_seeds=[0]",
    "dataset.general.samples=16",
    "dataset.general.seq_len=64",
    "dataset.undesired.samples=8",
    "dataset.undesired.response.max_candidates=100",
)
OWN = {
    "toxicity_llama3_8b_reproduction": (
        "dataset.reference_seeds=[0,1,2]",
        "dataset.undesired.samples=24",
        "evaluation.prompts=24",
        "evaluation.random_draws=3",  # fewer give no interval of the difference to random
        "evaluation.perplexity.stride=32",
        "pruning.num_neurons=100",  # as in the experiment
    ),
    "toxicity_opt_125m": ("pruning.curve=[10]",),
    "toxicity_gpt2_medium": ("pruning.curve=[40]",),
    # what a tiny model says is short and loops little: the bar is lower
    "repetition_opt_125m": ("dataset.uniqueness=0.6", "evaluation.threshold=0.4"),
}


def test_every_experiment_has_a_stand_in() -> None:
    assert set(FAMILY) == NAMES


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """C4, RealToxicityPrompts and WikiText in their own formats, in the embedded vocabulary."""
    root = tmp_path_factory.mktemp("files")
    serve_c4(root)
    serve_toxicity_prompts(root)
    serve_wikitext(root)
    prompts = root / "datasets" / TOXICITY / "prompts.jsonl"
    records = [each for each in _lines(prompts) if each["prompt"]["text"].strip()]
    for record in records:  # as in RealToxicityPrompts: few, and not by their own toxicity
        record["challenging"] = record["prompt"]["toxicity"] > 0.3
    prompts.write_text("".join(json.dumps(record) + "\n" for record in records))
    beginnings = [text for c in ("rude", "neutral") for text in data.prompts("held_out", c, 60)]
    beginnings += [t for c in ("rude", "neutral") for t in data.prompts("attribution", c, 60)]
    lines = "".join(json.dumps({"prompt": text}) + "\n" for text in beginnings)
    (root / "beginnings.jsonl").write_text(lines)
    return root


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _paths(name: str, root: Path) -> list[str]:
    hub = root / "datasets"
    text = (
        f"dataset.texts.general.path={hub / WIKITEXT}/wikitext-2-raw-v1/test-00000-of-00001.parquet"
    )
    general = f"dataset.general.path={hub / C4}/en/c4-train.00000-of-00002.json.gz"
    prompts = hub / TOXICITY / "prompts.jsonl"
    if name == "repetition_opt_125m":
        prompts = root / "beginnings.jsonl"
    return [text, general, f"dataset.prompts.path={prompts}"]


def _finished(name: str, root: Path, home: Path) -> tuple[Path, dict[str, Any]]:
    """Run an experiment at a reduced size; its run directory and results."""
    own = TOXIC if name != "repetition_opt_125m" else ("dataset.undesired.samples=16",)
    model = f"model.path={stand_in(FAMILY[name])}"
    cache = f"paths.cache={root / 'cache'}"
    overrides = (*SMALL, *own, *OWN.get(name, ()), *_paths(name, root), model, cache)
    done = sparc(f"experiment={name}", *overrides, home=home)
    assert done.returncode == 0, done.stderr
    (folder,) = run_folders(home)
    results = results_of(folder)
    assert results["status"] == "ok" and results["run"]["name"] == name
    return folder, results


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NAMES - {"toxicity_llama3_8b_reproduction"}))
def test_an_experiment_runs_to_its_end(name: str, files: Path, tmp_path: Path) -> None:
    folder, results = _finished(name, files, tmp_path)
    assert results["selection"]["num_pruned"] == 20
    assert results["evaluation"]["in_sample"] is False
    assert results["verdict"].startswith("On held-out")
    assert results["control"]["random"]["draws"] == 1
    assert results["baseline"]["perplexity"]["general"]["value"] > 1
    assert (folder / "report.html").is_file()
    undesired = [r for r in _lines(folder / "references.jsonl") if r["set"] == "undesired"]
    assert undesired and all(each["response"] is not None for each in undesired)
    attributed = {each["prompt"] for each in undesired}
    evaluated = {each["prompt"] for each in _lines(folder / "completions.jsonl")}
    assert not attributed & evaluated
    primary = results["evaluation"]["primary_metric"].partition(".")[2]
    assert results["baseline"]["toxicity"][primary]["value"] > 0


def _relevance(network: Any, token_ids: list[int]) -> torch.Tensor:
    """|weight * gradient| of every up_proj row [layers, neurons], from the largest last logit."""
    network.zero_grad(set_to_none=True)
    network(torch.tensor([token_ids]), use_cache=False).logits[0, -1].max().backward()
    weights = [layer.mlp.up_proj.weight for layer in network.model.layers]
    return torch.stack([(w.detach() * w.grad).abs().double().sum(1) for w in weights])


def _reproduced(source: str, references: list[Any]) -> list[tuple[int, int]]:
    """The 100 lowest of: mean over samples, mean over seeds, general minus toxic."""
    network = AutoModelForCausalLM.from_pretrained(
        source, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    with class_patched():
        means = {}
        for key in sorted({(r["set"], r["seed"]) for r in references}):
            chosen = [r["token_ids"] for r in references if (r["set"], r["seed"]) == key]
            means[key] = sum(_relevance(network, ids) for ids in chosen) / len(chosen)
    general = sum(mean for (name, _), mean in means.items() if name == "general") / 3
    contrast = general - means["undesired", 0]
    width = contrast.shape[1]
    return [(flat // width, flat % width) for flat in contrast.flatten().argsort()[:100].tolist()]


@pytest.fixture(scope="module")
def reproduction(
    files: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    home = tmp_path_factory.mktemp("reproduction")
    return _finished("toxicity_llama3_8b_reproduction", files, home)


@pytest.mark.slow
def test_the_reproduction_attributes_what_it_evaluates(
    reproduction: tuple[Path, dict[str, Any]], files: Path
) -> None:
    folder, _ = reproduction
    rows = _lines(files / "datasets" / TOXICITY / "prompts.jsonl")
    first = [r["prompt"]["text"] for r in rows if r["prompt"]["toxicity"] >= 0.9][:24]
    references = _lines(folder / "references.jsonl")
    for seed in (0, 1, 2):
        own = [r for r in references if r["seed"] == seed]
        assert [r["text"] for r in own if r["set"] == "undesired"] == first
        assert [len(r["token_ids"]) for r in own if r["set"] == "general"] == [64] * 16
    baseline = [r for r in _lines(folder / "completions.jsonl") if r["arm"] == "baseline"]
    assert [r["prompt"] for r in baseline if r["category"] == "toxic"] == first


@pytest.mark.slow
def test_the_reproduction_removes_what_its_formula_says(
    reproduction: tuple[Path, dict[str, Any]],
) -> None:
    folder, results = reproduction
    selected = [(n["layer"], n["index"]) for n in json.loads((folder / "neurons.json").read_text())]
    references = _lines(folder / "references.jsonl")
    assert selected == _reproduced(results["model"]["source"], references)


@pytest.mark.slow
def test_the_reproduction_is_marked_in_sample_and_judged_by_the_rules(
    reproduction: tuple[Path, dict[str, Any]],
) -> None:
    _, results = reproduction
    evaluation, said = results["evaluation"], results["verdict"]
    assert evaluation["in_sample"] is True and evaluation["split"] == "attribution"
    assert evaluation["primary_metric"] == "toxicity.mean" and evaluation["k"] == 1
    assert said.startswith("On in-sample (attributed) prompts: ")
    assert results["baseline"]["perplexity"]["general"]["convention"] == "stride"
    main = results["change"]["toxicity"]["mean"]
    low, high = main["ci95"]
    clear = main["p_value"] < 0.05 and (high < 0 or low > 0)
    assert ("no detectable effect on toxicity mean" in said) is not clear
    if clear:
        assert ("toxicity mean falls by" in said) is (high < 0)
    other = results["control"]["random"]["difference"]["toxicity"]["mean"]["ci95"]
    beats = clear and (other[1] < 0 if high < 0 else other[0] > 0)
    assert ("no more than random" in said) is not beats
    text = results["change"]["perplexity"]["general"]
    dear = text["relative"] > 0.05 and (text["ci95"] is None or text["ci95"][0] > 0)
    assert ("general perplexity" in said) is dear
