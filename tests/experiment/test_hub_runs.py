"""Whole runs on a model from a hub: tokens, later runs without the hub, and a full disk."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparc.config.locations import EMBEDDED_CLASSIFIER
from tests.support.hub_data import C4, LLAMA, TOXICITY, WIKITEXT, serve_all, serve_model
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
SCORER, WORDS = "stand-ins/scorer", "org/words"
REPOSITORIES = (LLAMA, SCORER, C4, TOXICITY, WIKITEXT, WORDS)
FROM_THE_HUB = (
    "model=hf",
    f"model.path={LLAMA}",
    "dataset=toxicity",
    "dataset.general.mode=cut",
    "dataset.undesired.mode=prompt",
    "dataset.general.seq_len=48",
    "dataset.general.samples=8",
    "dataset.undesired.samples=8",
    "evaluation.scorers=[classifier]",
    f"evaluation.classifier.path={SCORER}",
    "evaluation.prompts=6",
    "evaluation.sampling.samples=2",
    "evaluation.random_draws=1",
    "evaluation.perplexity.documents=6",
    "evaluation.resamples=100",
    "evaluation.lm_eval.tasks=[words]",
)
WORDS_TASK = f"""\
task: words
dataset_path: {WORDS}
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


def _words_task(root: Path, folder: Path) -> Path:
    """A data set of the hub and, in `folder`, the harness's task of it: which word comes next."""
    data, first = root / "datasets" / WORDS, "The weather was"
    data.mkdir(parents=True)
    rows = [{"start": first, "choices": ["fine", word]} for word in ("of", "to", "and")]
    (data / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder.mkdir()
    (folder / "words.yaml").write_text(WORDS_TASK)
    return folder


@pytest.mark.slow
def test_a_warm_job_asks_the_hub_for_nothing(tmp_path: Path) -> None:
    """Model, scorer, references, prompts, texts and a task of the harness, all of the hub."""
    pytest.importorskip("lm_eval")
    root = serve_all(tmp_path / "hub")
    serve_model(root, EMBEDDED_CLASSIFIER, SCORER)
    tasks = _words_task(root, tmp_path / "tasks")
    asked = (*FROM_THE_HUB, f"evaluation.lm_eval.include_path={tasks}")
    with hub_server(root) as server:
        for amount in (12, 6):  # the second job removes and measures other neurons
            server.log.clear()
            job = (*asked, f"pruning.num_neurons={amount}")
            done = sparc(*job, home=tmp_path, **server.environment())
            assert done.returncode == 0, done.stderr
            assert amount == 6 or set(REPOSITORIES) == _named(server)
        assert server.log == []
    results = results_of(run_folders(tmp_path)[-1])
    assert results["status"] == "ok" and results["selection"]["num_pruned"] == 6
    assert results["pruned"]["lm_eval"]["words"]["acc"]["value"] is not None


def _named(server: HubServer) -> set[str]:
    """The repositories that were asked for."""
    return {name for name in REPOSITORIES if any(name in each.path for each in server.log)}


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
