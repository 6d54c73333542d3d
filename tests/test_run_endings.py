"""How runs of the real command end: stopped, failed, in stages, as a sweep."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.runs import QUICK, environment, results_of, run_folders, sparc

pytestmark = pytest.mark.slow


def test_stage_attribute_fills_the_cache_for_others(tmp_path: Path) -> None:
    done = sparc(*QUICK, "stage=attribute", home=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = run_folders(tmp_path)
    assert "change" not in results_of(folder)
    assert not (folder / "completions.jsonl").exists()
    done = sparc(*QUICK, home=tmp_path)
    assert done.returncode == 0, done.stderr
    stages = {s["name"]: s for s in results_of(run_folders(tmp_path)[-1])["stages"]}
    assert stages["attribution"]["cached"] is True


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_so(stop: signal.Signals, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "sparc"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("outputs/runs/*/neurons.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(stop)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors and "interrupted" in errors
    (folder,) = run_folders(tmp_path)
    found = results_of(folder)
    assert found["status"] == "interrupted" and found["reason"]
    assert not (folder / "completions.jsonl").exists()
    assert list(folder.rglob(".*.tmp")) == []


def test_a_failed_run_says_so(tmp_path: Path) -> None:
    done = sparc(*QUICK, "evaluation.detoxify.source=/no/such.ckpt", home=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    found = results_of(run_folders(tmp_path)[0])
    assert found["status"] == "failed" and "/no/such.ckpt" in found["reason"]


def test_a_device_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = sparc(*QUICK, "device=cuda", home=tmp_path)
    assert done.returncode == 1
    assert (
        done.stderr.strip()
        == "sparc: device=cuda: no CUDA device here; use device=cpu or device=auto"
    )
    assert results_of(run_folders(tmp_path)[0])["status"] == "failed"


def test_a_sweep_shares_one_attribution(tmp_path: Path) -> None:
    sweep = ("-m", *QUICK, "evaluation.random_draws=1", "pruning.num_neurons=4,8")
    done = sparc(*sweep, home=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "outputs" / "sweeps").iterdir()
    assert re.fullmatch(r"quick-[0-9a-f]{10}", folder.name)
    jobs = sorted(path for path in folder.iterdir() if (path / "results.json").exists())
    assert len(jobs) == 2
    cached = [
        {s["name"]: s["cached"] for s in results_of(job)["stages"]}["attribution"] for job in jobs
    ]
    assert sorted(cached) == [False, True]
    assert sorted(results_of(job)["selection"]["num_pruned"] for job in jobs) == [4, 8]


def test_a_report_is_rendered_again_without_a_model(tmp_path: Path) -> None:
    assert sparc(*QUICK, "evaluation.random_draws=1", home=tmp_path).returncode == 0
    (folder,) = run_folders(tmp_path)
    page = (folder / "report.html").read_bytes()
    (folder / "report.html").write_text("lost")
    # torch is out of reach: whoever imports it fails.
    (tmp_path / "torch.py").write_text("raise ImportError('no torch for a report')")
    done = sparc("stage=report", f"run={folder}", home=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (folder / "report.html").read_bytes() == page
    assert run_folders(tmp_path) == [folder]


def test_a_report_needs_a_finished_run(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("no results beside it")
    for override in ("run=null", f"run={tmp_path}"):
        done = sparc("stage=report", override, home=tmp_path)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_model_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama"')
    done = sparc("model=hf", f"model.path={model}", home=tmp_path)
    assert done.returncode == 2 and "not readable JSON" in done.stderr
    (model / "config.json").write_text('{"model_type": "llama"}')  # and no weights
    done = sparc("model=hf", f"model.path={model}", home=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"sparc: model.path={model}: cannot be loaded: ")
    assert len(done.stderr.strip().splitlines()) == 1
