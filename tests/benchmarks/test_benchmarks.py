"""The benchmarks run, and their numbers fit together; nothing is asserted about times."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.runs import environment, python

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def _small(script: str, tmp_path: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """The JSON that a benchmark's small mode writes, and what it prints."""
    words = [str(BENCHMARKS / script), "--small", "--out", str(tmp_path), *arguments]
    done = python(*words, cwd=Path.cwd(), env=environment(tmp_path))
    assert done.returncode == 0, done.stderr
    written = [path for path in tmp_path.glob("*.json")]
    record: dict[str, Any] = json.loads(written[0].read_text())
    for name in ("date", "processor", "torch", "python", "revision"):
        assert name in record["environment"]
    return record, done.stdout


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


@pytest.mark.slow
def test_attribution_and_the_naive_algorithm_agree(tmp_path: Path) -> None:
    record, printed = _small("attribution.py", tmp_path)
    for each in record["agreement"].values():
        assert each["shared"] == each["of"] and each["largest_error"] < 1e-5
    assert "| signed |" in printed and set(record["agreement"]) == {"long", "short", "contrast"}
    for workload in record["measured"].values():
        flops = {name: each["flops"] for name, each in workload.items()}
        assert flops["naive"] > flops["naive, last logits"] > flops["abs_weight"] > flops["signed"]
        sizes = {name: each["bytes_on_disk"] for name, each in workload.items()}
        assert sizes["signed"] < sizes["naive"] / 50
        for each in workload.values():
            share = each["flops"] / each["seconds"] / each["matmul_rate"]
            assert each["share"] == pytest.approx(share)
        assert workload["signed"]["over_signed"] == 1


@pytest.mark.slow
def test_all_of_the_gpu_command_runs_and_is_held_against_its_goals(tmp_path: Path) -> None:
    record, printed = _small("gpu.py", tmp_path)
    found = record["found"]
    assert len(found) == 8 and not [each for each in found.values() if "error" in each]
    assert found["small, evaluation, completions"]["a_second"] > 0
    assert "not measured" not in printed and "| small, long, signed | naive / this |" in printed


def test_what_a_gpu_did_not_measure_is_said(modules: Any) -> None:
    gpu = modules("gpu")
    tasks = [task for process in gpu.processes(False, "") for task in process]
    assert set(gpu.GOALS) < {gpu.name(task) for task in tasks}
    assert {row[2] for row in gpu.rows(tasks, {})} == {"not measured"}
    found = {
        "llama3-8b, long, signed": {"seconds": 0.92, "share": 0.39, "total_bytes": 41e9},
        "llama3-8b, long, naive": {"seconds": 2.3, "samples": 1},
        "llama3-8b, short, signed": {"error": "out of memory"},
    }
    rows = {(what, number): rest for what, number, *rest in gpu.rows(tasks, found)}
    signed = {name: rows["llama3-8b, long, signed", name] for name in ("seconds", "share", "GB")}
    assert signed["seconds"] == [0.23, "≤ 0.23", "yes"]
    assert signed["share"] == [0.39, "≥ 0.4", "no"] and signed["GB"] == [41.0, "≤ 40", "no"]
    assert rows["llama3-8b, long, signed", "naive / this"][0] == pytest.approx(10)
    assert rows["llama3-8b, short, signed", "seconds"] == ["out of memory", "≤ 2", None]


def test_a_gpu_process_that_is_out_of_time_leaves_what_it_has(modules: Any, tmp_path: Path) -> None:
    gpu = modules("gpu")
    (engine, _) = gpu.processes(True, str(tmp_path))
    assert list(gpu.measured(engine, 0)) == []


@pytest.mark.slow
def test_scaling_varies_one_thing_at_a_time(tmp_path: Path) -> None:
    record, _ = _small("scaling.py", tmp_path)
    points = {(each["varied"], each["value"]): each for each in record["points"]}
    one, two = points["samples", 1], points["samples", 2]
    assert two["flops"] == pytest.approx(2 * one["flops"])
    assert two["estimated_bytes"] == 2 * one["estimated_bytes"]
    assert points["abs_weight", 1]["flops"] > one["flops"]
    assert set(record["selection_seconds"]) == {"1", "100", "10000", "100000"}


@pytest.mark.slow
def test_evaluation_gives_what_the_loops_give(tmp_path: Path) -> None:
    record, _ = _small("evaluation.py", tmp_path)
    found = record["found"]
    assert found["greedy completions"]["equal"] == found["greedy completions"]["counts"][0] == 8
    texts = [each for name, each in found.items() if name.startswith("perplexity")]
    assert len(texts) == 4
    for each in texts:
        assert each["relative difference"] < 1e-6 and each["counts"][0] == each["counts"][1]


@pytest.mark.slow
def test_localisation_reports_chance_and_oracle(tmp_path: Path) -> None:
    record, printed = _small("localisation.py", tmp_path)
    (found,) = record["found"].values()
    assert set(found["rows"]) == {"lrp", "activation", "random", "oracle"}
    assert found["chance"] == pytest.approx(63 / 2367)
    for name, row in found["rows"].items():
        assert 0 <= row["average precision"] <= 1
        assert (row["recall"] == 1) == (name == "oracle")
        for point in row["points"].values():
            assert 0 <= point["rude rate"] <= 1 and point["general"] > 1
    assert "fails" in printed.split("| random |")[1].splitlines()[0]  # random is below 5x chance
    again, _ = _small("localisation.py", tmp_path)
    assert again["found"] == record["found"]  # from its cache, and the same


@pytest.mark.slow
def test_a_rule_is_chosen_and_shown(tmp_path: Path) -> None:
    record, printed = _small("localisation.py", tmp_path, "--rules")
    found = record["found"]
    assert found["chosen"] in next(iter(found["chosen_on"].values()))["rows"]
    assert set(found["chosen_on"]).isdisjoint(found["shown"])
    (shown,) = found["shown"].values()
    assert set(shown["rows"]) == {"lrp", "activation", found["chosen"], "random", "oracle"}
    assert f"chosen: {found['chosen']}" in printed


def test_rules_put_the_lowest_of_both_first(modules: Any) -> None:
    rules = modules("rules")
    # neuron 0 is lowest in both, 1 and 2 in one of them, 3 in none
    first = torch.tensor([[-4.0, -5.0, 1.0, 2.0]], dtype=torch.float64)
    second = torch.tensor([[-4.0, 1.0, -5.0, 2.0]], dtype=torch.float64)
    assert rules.both(first, second).argmin() == 0
    assert rules.both(first, second)[0, 1:].abs().sum() == 0
    assert rules.interleaved(first, second).flatten().argsort().tolist() == [1, 2, 0, 3]
    assert rules.staged(first, 1, second).flatten().argsort().tolist() == [1, 2, 0, 3]
    assert rules.staged(second, 0, first).flatten().argsort().tolist() == [1, 0, 2, 3]
    agreed = rules.agreement([first, second])
    assert agreed.tolist() == [[-4.0, 0.0, 0.0, 2.0]]
    for name, rule in rules.RULES.items():
        views = {view: [first, first * 1.1] for view in rules.VIEWS}
        score = rule(views)
        assert score.shape == (1, 4), name
        assert score.argmin() == 1, name  # all views agree, so every rule does


def _found(recall: float, rates: dict[int, float]) -> dict[str, Any]:
    points = {n: {"rude rate": rate} for n, rate in rates.items()}
    return {"recall": recall, "average precision": recall, "points": points}


def test_the_rule_whose_worse_side_is_best_is_chosen(modules: Any) -> None:
    tables = modules("localisation_tables")
    rows = {
        "finds": _found(0.8, {2: 0.5, 4: 0.5}),
        "acts": _found(0.2, {2: 0.1, 4: 0.0}),
        "one side": _found(0.9, {2: 0.5, 4: 0.5}),
        "both": _found(0.7, {2: 0.1, 4: 0.1}),
    }
    found = {"0": {"baseline": {"rude rate": 0.5}, "chance": 0.02, "rows": rows}}
    assert tables.effects(found, "acts", (2, 4)) == pytest.approx([0.9])
    assert tables.best_rule(found, ["one side", "both"], ["finds", "acts"], (2, 4)) == "both"
    assert "| both | 0.70 | 0.70 |" in tables.of_rules(found, (2, 4))


def test_numbers_of_a_table_have_three_digits(modules: Any) -> None:
    measuring = modules("measuring")
    table = measuring.markdown(["a", "b"], [[1.23456, None], [12345.6, "x"]])
    assert table.splitlines()[2:] == ["| 1.23 | - |", "| 12346 | x |"]
