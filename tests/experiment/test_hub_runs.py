"""Whole runs on a model from a hub: tokens, later runs without the hub, and a full disk."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub_data import serve_model
from tests.support.hub_facts import commit_of
from tests.support.hub_server import GOOD_TOKEN, Fault, HubServer, hub_server
from tests.support.runs import results_of, run_folders, sparc
from tests.support.stand_ins import stand_in

SMALL = (
    "experiment=quick",
    "evaluation.prompts=6",
    "evaluation.perplexity.documents=8",
    "evaluation.random_draws=1",
    "evaluation.resamples=200",
    "dataset.general.samples=16",
    "dataset.undesired.samples=16",
    "pruning.num_neurons=12",
)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    root = tmp_path_factory.mktemp("hub")
    serve_model(root, stand_in("opt"), "stand-ins/gated")
    with hub_server(root, {"models/stand-ins/gated": Fault(gated=True)}) as server:
        yield server


def _holding(folder: Path, secret: str) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return [str(path) for path in files if secret.encode() in path.read_bytes()]


@pytest.mark.slow
def test_a_run_over_the_hub_leaks_no_token_and_goes_on_without_it(
    hub: HubServer, tmp_path: Path
) -> None:
    asked = (
        *SMALL,
        "evaluation.prompts=12",
        "model=hf",
        "model.path=stand-ins/gated",
        "pruning.save_model=true",
    )
    done = sparc(
        *asked,
        "tracking=wandb",
        "tracking.mode=offline",
        home=tmp_path,
        **hub.environment(GOOD_TOKEN),
    )
    assert done.returncode == 0, done.stderr
    (folder,) = run_folders(tmp_path)
    results = results_of(folder)
    assert results["model"]["fingerprint"] == (
        f"stand-ins/gated@{commit_of(hub.root / 'models/stand-ins/gated')}"
    )
    assert results["baseline"]["toxicity"]["rate"]["value"] > 0.15
    assert results["change"]["toxicity"]["rate"]["relative"] < -0.5
    assert (folder / "corrected_model" / "model.safetensors").is_file()
    assert list(folder.rglob("*.wandb"))
    assert GOOD_TOKEN not in done.stdout + done.stderr
    assert _holding(tmp_path, GOOD_TOKEN) == []
    # The cache serves where the hub must not be asked, and where it refuses.
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    for reach in (nowhere, hub.environment()):
        again = sparc(*asked[:-1], "stage=attribute", home=tmp_path, **reach)
        assert again.returncode == 0, again.stderr
        later = results_of(run_folders(tmp_path)[-1])
        assert later["model"]["fingerprint"] == results["model"]["fingerprint"]
        assert {s["name"]: s["cached"] for s in later["stages"]}["attribution"] is True


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_loses_nothing_that_was_done(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        _run_out_of_space(disk)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def _run_out_of_space(disk: Path) -> None:
    asked = (*SMALL, f"paths.cache={disk}/cache", "pruning.save_model=true")
    filler = disk / "filler"
    filler.write_bytes(bytes((8192 - 100) * 1024))
    told = sparc(*asked, home=disk)
    assert told.returncode == 2 and f"paths.cache={disk}/cache: no space left" in told.stderr
    filler.write_bytes(bytes((8192 - 2500) * 1024))  # the saved model alone takes 3.4 MB
    done = sparc(*asked, home=disk)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("sparc: no space left on the disk")
    (folder,) = run_folders(disk)
    results = results_of(folder)
    assert results["status"] == "failed" and results["reason"] in line
    assert results["change"]["toxicity"]["rate"]["relative"] is not None
    assert not (folder / "corrected_model").exists() and list(disk.rglob("*.tmp")) == []
    filler.unlink()
    again = sparc(*asked, home=disk)
    assert again.returncode == 0, again.stderr
    folder = run_folders(disk)[-1]
    cached = {stage["name"]: stage["cached"] for stage in results_of(folder)["stages"]}
    assert cached["attribution"] and cached["baseline"]
    assert (folder / "corrected_model" / "model.safetensors").is_file()
