"""What W&B is told, and that nothing it does costs a result; the real command throughout."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from sparc.config import TrackingConfig
from sparc.track import track
from tests.support.runs import environment, python, results_of, run_folders, sparc
from tests.support.wandb_files import Recorded, recorded
from tests.support.wandb_server import Manner, wandb_server

pytestmark = pytest.mark.slow

SMALLEST = (
    "experiment=quick",
    "evaluation.prompts=4",
    "evaluation.sampling.samples=1",
    "evaluation.perplexity.documents=4",
    "evaluation.resamples=50",
    "evaluation.random_draws=1",
)
SECRETS = {"WANDB_API_KEY": "0123456789abcdef" * 2 + "01234567", "HF_TOKEN": "hf_very_secret_token"}


def _logs(home: Path) -> dict[Path, Recorded]:
    """run directory -> what W&B recorded of it."""
    return {file.parents[2]: recorded(file) for file in home.rglob("*.wandb")}


def _assert_private(home: Path) -> None:
    """Neither secrets nor home in what W&B recorded or would upload."""
    kept = [
        *home.rglob("*.wandb"),
        *home.glob("outputs/**/wandb/artifact/*"),
        *home.glob("outputs/**/wandb/*run-*/files/**/*"),
    ]
    assert kept
    for file in kept:
        content = file.read_bytes() if file.is_file() else b""
        for private in (*SECRETS.values(), str(home)):
            assert private.encode() not in content, f"{private} in {file}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One user, so that scores and baselines are computed once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def untracked(home: Path) -> dict[str, Any]:
    """The results without tracking."""
    done = sparc(*SMALLEST, home=home, **SECRETS)
    assert done.returncode == 0, done.stderr
    (folder,) = run_folders(home)
    assert not (folder / "wandb").exists()
    return results_of(folder)


def test_a_sweep_is_one_group_of_separate_runs(tmp_path: Path) -> None:
    (tmp_path / "damaged.ckpt").write_bytes(b"half")
    jobs = ("pruning.num_neurons=4,8", "evaluation.detoxify.source=embedded,damaged.ckpt")
    tracking = ("tracking=wandb", "tracking.mode=offline", "tracking.tags=[mine]")
    done = sparc("-m", *SMALLEST, *jobs, *tracking, home=tmp_path, **SECRETS)
    assert done.returncode == 1  # two jobs cannot read their classifier
    assert done.stderr.count("wandb sync") == 4

    logs = _logs(tmp_path)
    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    assert len(logs) == 4 and {run.group for run in logs.values()} == {sweep.name}
    _assert_private(tmp_path)
    rows = [row for run in logs.values() for row in run.history]
    assert any(row.get("progress/attribution") == 1 for row in rows)
    for folder, run in logs.items():
        results = results_of(folder)
        assert run.job_type == "all"
        assert {"quick", "tiny", "lrp", "neurons", "mine"} <= set(run.tags)
        assert run.summary["status"] == results["status"]
        assert not {"paths", "tracking", "device"} & set(run.config)
        amount = run.config["pruning"]["num_neurons"]
        failed = results["status"] == "failed"
        assert run.exit_code == (1 if failed else 0)
        (artifact,) = run.artifacts
        # what fails does so before neurons are chosen
        kept = ["results.json"] if failed else ["neurons.json", "results.json"]
        assert artifact[1] == kept
        if failed:
            assert "damaged.ckpt" in run.summary["reason"]
            continue
        logged = json.loads((folder / "wandb" / "artifact" / "neurons.json").read_text())
        kept = json.loads((folder / "neurons.json").read_text())
        assert "card" in kept[0] and logged == [
            {key: record[key] for key in ("layer", "index", "score")} for record in kept
        ]  # cards quote reference texts
        change = results["change"]
        (point,) = [row for row in run.history if row.get("num_neurons") == amount]
        for metric in ("toxicity/rate", "perplexity/general"):
            first, second = metric.split("/")
            name = f"{metric}/relative"
            expected = change[first][second]["relative"]
            assert point[name] == run.summary[name] == pytest.approx(expected, abs=1e-12)
            assert run.step_metrics[name] == "num_neurons"
        assert any(row.get("progress/evaluation") == 1 for row in run.history)
        assert any("figures/perplexity_of_each_text/path" in row for row in run.history)
        assert not any("completions/_type" in row for row in run.history)
    assert len({recorded.summary["run/seconds"] for recorded in logs.values()}) == 4


@pytest.mark.parametrize("manner", ["refuse", "hang", "drop"])
def test_an_outage_costs_no_result(manner: Manner, home: Path, untracked: dict[str, Any]) -> None:
    with wandb_server(manner) as (address, asked):  # until it is closed it misbehaves
        done = sparc(
            *SMALLEST, "tracking=wandb", "tracking.mode=online", "tracking.init_timeout=10",
            home=home, **SECRETS, WANDB_BASE_URL=address,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert asked
    folder = run_folders(home)[-1]
    results = results_of(folder)
    for part in ("status", "baseline", "pruned", "change", "control", "verdict", "selection"):
        assert results[part] == untracked[part]
    assert (folder / "report.html").is_file() and (folder / "completions.jsonl").is_file()
    told = [line for line in done.stderr.splitlines() if "wandb sync" in line]
    assert len(told) == 1 and "Traceback" not in done.stderr
    synced = re.search(r"`wandb sync (\S+)`", told[0])
    assert synced
    # An attempt that failed may have left a log of its own: the one to be synced is the whole one.
    (log,) = (home / synced[1]).glob("*.wandb")
    run = recorded(log)
    assert (
        run.summary["toxicity/rate/relative"] == results["change"]["toxicity"]["rate"]["relative"]
    )
    assert run.exit_code == 0
    _assert_private(home)


def test_attempts_at_a_job_are_one_run(
    home: Path, untracked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_folders(home)[0]
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    for mode, code in (("online", 143), ("offline", 0)):  # a server that is away, then none
        monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        assert track(folder, code, TrackingConfig(name="wandb", mode=mode, init_timeout=2)) == (
            mode == "offline"
        )
    logs = [recorded(file) for file in (folder / "wandb").rglob("*.wandb")]
    assert len(logs) >= 2 and len({run.id for run in logs}) == 1
    assert {run.exit_code for run in logs} >= {143, 0}
    shutil.rmtree(folder / "wandb")


def test_no_key_costs_no_result(home: Path, untracked: dict[str, Any]) -> None:
    done = sparc(*SMALLEST, "tracking=wandb", "tracking.mode=online", home=home)
    assert done.returncode == 0
    (told,) = [line for line in done.stderr.splitlines() if "W&B" in line]
    assert "api_key" in told.lower() or "api key" in told.lower()
    assert "wandb sync" in told
    assert results_of(run_folders(home)[-1])["change"] == untracked["change"]


def test_finished_runs_are_logged_after_the_fact(home: Path, untracked: dict[str, Any]) -> None:
    folder = next(f for f in run_folders(home) if not (f / "wandb").exists())
    before = (folder / "results.json").read_bytes()
    bad = home / "bad"
    (bad / ".hydra").mkdir(parents=True)
    (bad / "results.json").write_text("{")
    words = ["-m", "sparc.track", str(bad), str(folder), "--mode", "offline", "--completions"]
    done = python(*words, cwd=home, env=environment(home, **SECRETS))
    assert done.returncode == 1 and f"{bad / 'results.json'}: not JSON" in done.stderr
    assert (folder / "results.json").read_bytes() == before
    run = _logs(home)[folder]
    assert run.summary["status"] == "ok" and run.exit_code == 0 and run.group == ""
    (table,) = [row for row in run.history if "completions/_type" in row]
    records = len((folder / "completions.jsonl").read_text().splitlines())
    assert table["completions/_type"] == "table-file" and table["completions/nrows"] == records
