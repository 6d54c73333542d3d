"""The folder of each job of a sweep: its name, and which one counts where a job has two."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sparc.storage.artifacts import write_json
from sparc.sweeps.identity import job_folder, own_folder
from sparc.sweeps.jobs import read_jobs
from sparc.sweeps.launching import plan
from tests.support.sweep_run import make_sweep

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("given", "start"),
    [
        ("seed=0", "seed=0"),
        ("a=1," * 70, "a=1,a=1,"),
        ("pruning.path=/a/b.json", "pruning.path=_a_b.json-"),
        ("..", "job-"),
        ("", "job"),
        ("x=[1,2]", "x=_1,2_-"),
    ],
)
def test_job_folders_are_short_and_safe(given, start):
    name = job_folder(given)
    assert name.startswith(start)
    assert re.fullmatch(r"[A-Za-z0-9=][A-Za-z0-9.,=_-]*", name) and len(name) <= 200


def test_different_jobs_keep_different_folders():
    given = ["p=/a", "p=:a", "a=1," * 70, "a=1," * 71, "p=_a", "..", "."]
    assert len({job_folder(each) for each in given}) == len(given)


def test_a_job_has_one_folder_wherever_it_runs(tmp_path):
    where = ["device=cpu", "+paths.x=/y", "tracking.tags=[a]", "tracking.entity=me", "run=r"]
    assert own_folder(["seed=1", *where, "model=hf"]) == "model=hf,seed=1"
    assert own_folder(where) == "job"
    code = f"""if True:
        from hydra import compose, initialize_config_dir
        import sparc.app
        from sparc.config import register_schema
        from sparc.config.locations import config_folder
        register_schema()
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            print(compose("config", {["seed=1", *where[2:]]}, True).hydra.sweep.subdir)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "seed=1\n", done.stderr


@pytest.mark.parametrize("first", [True, False])
def test_of_two_folders_of_a_job_the_one_that_ended_well_counts(tmp_path, first):
    folder = make_sweep(tmp_path)
    done = next(folder.glob("attribution=lrp*seed=0"))
    other = folder / (f"{'a' if first else 'z'}{done.name}")
    shutil.copytree(done, other)
    write_json(other / "results.json", {"status": "failed", "reason": "an earlier attempt"})
    path = other / ".hydra" / "overrides.yaml"
    path.write_text(json.dumps([*json.loads(path.read_text()), "tracking.tags=[a]"]))
    before = [job.folder for job in read_jobs(folder).jobs]
    assert done.name in before and other.name not in before and len(before) == 27
    expected = json.loads((folder / "sweep.jobs.json").read_text())["jobs"]
    assert plan(folder, [job["overrides"] for job in expected]).done == 24
    (done / "results.json").unlink()  # neither ended well: the folder that a new attempt gets
    names = [job.folder for job in read_jobs(folder).jobs]
    assert done.name in names and other.name not in names
