"""Sites: GPUs that torch does not see, quotas, and nodes other than the one asked from."""

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch

from sparc.errors import UserError
from sparc.models import process
from sparc.models.model import choose_device
from sparc.models.process import granted_gpus
from sparc.preflight.checking import check
from sparc.preflight.findings import Row
from sparc.preflight.needs import needs
from sparc.storage.disk import quota_left, read_quota
from tests.support.composed import composed


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No word about GPUs in the environment, and torch sees none."""
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("SLURM_GPUS", "SLURM_GPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(process, "_FIRST_GPU", "/nowhere/nvidia0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return monkeypatch


@pytest.mark.parametrize(
    "given",
    [
        {"SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "0"},
        {"SLURM_JOB_ID": "7", "SLURM_GPUS_ON_NODE": "2"},
        {"SLURM_GPUS": "a100:2"},
        {"CUDA_VISIBLE_DEVICES": "0,1"},
    ],
)
def test_gpus_that_torch_does_not_see_are_no_reason_to_take_the_cpu(
    bare: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    for name, value in given.items():
        bare.setenv(name, value)
    for device in ("auto", "cuda", "cuda:1"):
        with pytest.raises(UserError, match=rf"^device={device}: there are GPUs \(\w+=.*\Z") as e:
            choose_device(device)
        assert "\n" not in str(e.value) and "device=cpu" in str(e.value)
    assert choose_device("cpu").type == "cpu"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"SLURM_JOB_ID": "7"},  # on a node with GPUs, none of them its own
        {"SLURM_JOB_ID": "7", "SLURM_GPUS_ON_NODE": "0"},
        {"CUDA_VISIBLE_DEVICES": ""},
        {"CUDA_VISIBLE_DEVICES": "NoDevFiles", "SLURM_JOB_ID": "7"},
    ],
)
def test_where_there_is_no_gpu_auto_is_the_cpu(
    bare: pytest.MonkeyPatch, given: dict[str, str], tmp_path: Path
) -> None:
    for name, value in given.items():
        bare.setenv(name, value)
    if given:
        (tmp_path / "nvidia0").touch()
        bare.setattr(process, "_FIRST_GPU", str(tmp_path / "nvidia0"))
    assert choose_device("auto").type in ("cpu", "mps")


def test_a_device_file_tells_of_a_gpu(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "nvidia0").touch()
    bare.setattr(process, "_FIRST_GPU", str(tmp_path / "nvidia0"))
    assert granted_gpus() == str(tmp_path / "nvidia0")


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("        /lustre/fs1  1000  0  5000  -  12  0  0  -\n", 4000 * 1024),
        ("     /lustre/fs1 [6000]* 0 5000 - 1 0 0 -\n", None),  # not to be relied on, says Lustre
        ("     /lustre 6000* 0 5000 - 1 0 0 -\n", 0),
        ("     /lustre 6000 0 0 - 1 0 0 -\n", None),
        (
            "Disk quotas for user me (uid 1000): \n     Filesystem  blocks   quota   limit   grace"
            "   files   quota   limit   grace\nserver:/home 700 1000 1200       10 0 0\n",
            500 * 1024,
        ),
        ("Disk quotas for user me (uid 1000): none\n", None),
        ("", None),
    ],
)
def test_quotas_are_read(said: str, left: int | None) -> None:
    assert read_quota(said) == left


def _command(folder: Path, name: str, lines: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{lines}\n")
    (folder / name).chmod(0o755)


def _checked(*overrides: str, launcher: dict[str, Any]) -> dict[str, Row]:
    local: Future[str | None] = Future()
    local.set_result(None)
    config = composed("experiment=quick", *overrides)
    answers = dict.fromkeys(needs(config), local)
    return {row.name: row for row in check(config, launcher, answers)}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A login node: Slurm's commands, a quota of 1 MB, and no GPU."""
    _command(tmp_path, "sbatch", "exit 1")
    answers = 'case "$*" in *%R*) echo gpu;; *) echo "gpu:a100:4(S:0-1)|256000"; esac'
    _command(tmp_path, "sinfo", answers)
    _command(tmp_path, "lfs", "exit 1")
    _command(tmp_path, "quota", 'echo "disk 3000 0 4000 0 1 0 0 0"')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return tmp_path


def test_a_quota_counts_as_free_disk_does(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert quota_left(site) == 1000 * 1024
    row = _checked("device=cpu", launcher={})["disk"]
    assert row.ok is False and "1.02 MB left of your quota" in row.found
    _command(site, "quota", "exit 1")
    assert quota_left(site) is None
    row = _checked("device=cpu", launcher={})["disk"]
    assert row.ok and " free in " in row.found


def test_a_login_node_answers_for_the_nodes_of_the_partition(site: Path) -> None:
    slurm = {"_target_": "x.SlurmLauncher", "partition": "gpu", "gpus_per_node": 2, "mem_gb": 16}
    for device in ("cuda", "auto"):
        rows = _checked(f"device={device}", launcher=slurm)
        assert "device" not in rows and rows["memory"].ok is None
        assert rows["partition"].ok
        assert "nodes with gpu:a100:4(S:0-1), 268 GB" in rows["partition"].found
    rows = _checked("device=cuda", launcher=slurm | {"mem_gb": 300})
    assert "no node of partition gpu with so many GPUs has more than 268" in str(
        rows["partition"].advice
    )
    rows = _checked("device=cuda", launcher=slurm | {"mem_gb": 1e-6})
    assert rows["memory"].ok is False and "hydra.launcher.mem_gb" in str(rows["memory"].advice)
    rows = _checked("device=cuda", launcher=slurm | {"gpus_per_node": None})
    assert rows["device"].ok is False and "gpus_per_node=null" in str(rows["device"].advice)
    assert _checked("device=auto", launcher=slurm | {"gpus_per_node": None})["memory"].ok
