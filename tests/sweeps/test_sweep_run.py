"""Sweeps of the real command: what the launching terminal and the sweep's folder say at the end."""

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.runs import PATIENCE, QUICK, environment, python, results_of, sparc, until_in

SWEEP = ("-m", *QUICK, "evaluation.random_draws=1", "pruning.num_neurons=4")

pytestmark = pytest.mark.slow


def _summary(folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    return python("-m", "sparc.sweep", str(folder), cwd=root, env=environment(home))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def ended(home: Path) -> subprocess.CompletedProcess[str]:
    """A sweep of two jobs, one of which fails, in a folder of the user's choice."""
    (home / "damaged.ckpt").write_bytes(b"half")
    sources = "evaluation.detoxify.source=embedded,damaged.ckpt"
    return sparc(*SWEEP, sources, "hydra.sweep.dir=my/${name}", home=home)


def test_a_failed_job_is_named_and_the_others_are_summarised(
    ended: subprocess.CompletedProcess[str], home: Path
) -> None:
    assert ended.returncode == 1
    assert "1 done, 1 failed, 0 missing" in ended.stdout
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("failed: ") and "damaged.ckpt" in last and "sparc.log" in last
    assert "Traceback" not in ended.stderr
    folder = home / "my" / "quick"
    rows = list(csv.DictReader((folder / "sweep.csv").open()))
    assert [row["status"] for row in rows] == ["failed", "ok"]
    good = results_of(folder / rows[1]["job"])
    found = json.loads((folder / "sweep.json").read_text())
    assert [point["verdict"] for point in found["points"]] == [good["verdict"]]
    assert found["points"][0]["change"]["toxicity"] == good["change"]["toxicity"]
    assert "on held-out prompts only" in found["recommended"][0]["reason"]
    assert (
        f"./{rows[1]['job']}/report.html".replace("=", "%3D").replace(",", "%2C")
        in (folder / "sweep.html").read_text()
    )
    assert not (home / "outputs" / "sweeps").exists()


def test_the_same_summary_by_hand(ended: subprocess.CompletedProcess[str], home: Path) -> None:
    folder = home / "my" / "quick"
    names = ("sweep.json", "sweep.csv", "sweep.html")
    before = [(folder / name).read_bytes() for name in names]
    done = _summary(folder, home)
    assert done.returncode == 1 and "1 done, 1 failed, 0 missing" in done.stdout
    assert [(folder / name).read_bytes() for name in names] == before


def test_the_same_command_runs_what_failed_again_in_processes_of_their_own(
    ended: subprocess.CompletedProcess[str], home: Path
) -> None:
    folder = home / "my" / "quick"
    names = sorted(path.name for path in folder.iterdir())
    (good,) = (p for p in folder.glob("*/results.json") if results_of(p.parent)["status"] == "ok")
    (bad,) = (p for p in folder.glob("*/results.json") if p != good)
    before = [path.read_bytes() for path in (good, bad)]
    sources = "evaluation.detoxify.source=embedded,damaged.ckpt"
    where = ("hydra.sweep.dir=my/${name}", "hydra/launcher=local")
    done = sparc(*SWEEP, sources, *where, home=home)
    assert done.returncode == 1
    assert "1 of 2 jobs are done already: running 1" in done.stdout
    assert "1 done, 1 failed, 0 missing" in done.stdout
    assert done.stderr.startswith("failed: ") and len(done.stderr.strip().splitlines()) == 1
    assert good.read_bytes() == before[0] and bad.read_bytes() != before[1]
    assert "damaged.ckpt" in results_of(bad.parent)["reason"]
    new = {path.name for path in folder.iterdir()} - set(names)
    assert new == {".submitit", "sweep.submitted.json"}


def test_shards_of_a_sweep_make_the_attribution_of_the_next(tmp_path: Path) -> None:
    shards = ("stage=attribute", "attribution.shards=8", "attribution.shard=range(8)")
    done = sparc("-m", *QUICK, *shards, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "8 done, 0 failed, 0 missing" in done.stdout
    done = sparc(*SWEEP, "attribution.shards=8", home=tmp_path)
    assert done.returncode == 0, done.stderr
    (log,) = (tmp_path / "outputs" / "sweeps").glob("*/*num_neurons*/sparc.log")
    assert "going on after" not in log.read_text()
    parts = [path for path in (tmp_path / ".cache" / "sparc" / "scores").iterdir() if path.is_dir()]
    assert len(parts) == 2 * 8 + 2  # general and undesired; what the parts were merged to


def test_an_interrupted_sweep_stays_as_it_is(home: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "sparc", *SWEEP, "seed=0,1,2", f"paths.outputs={tmp_path}"],
        cwd=tmp_path,
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    second = "sweeps/*/*seed=1/neurons.json"
    until_in(process, "the second job", lambda: list(tmp_path.glob(second)))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and "Traceback" not in errors
    assert "python -m sparc.sweep" in errors
    (folder,) = (tmp_path / "sweeps").iterdir()
    assert not (folder / "sweep.html").exists()
    done = _summary(folder, home)
    assert done.returncode == 1 and "1 done, 1 failed, 1 missing" in done.stdout
    rows = list(csv.DictReader((folder / "sweep.csv").open()))
    assert [(row["seed"], row["status"]) for row in rows] == [
        ("0", "ok"),
        ("1", "interrupted"),
        ("2", "missing"),
    ]
    assert (rows[2]["model"], rows[2]["dataset"], rows[2]["attribution"]) == ("tiny", "rude", "lrp")


def test_printing_a_sweeps_configuration_leaves_nothing(tmp_path: Path) -> None:
    sparc("-m", "seed=0,1", "--cfg", "job", home=tmp_path)
    assert not (tmp_path / "outputs").exists()
