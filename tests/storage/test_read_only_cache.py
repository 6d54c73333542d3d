"""A cache on a read-only mount: what it holds serves, what it lacks is told in one line."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.composed import SMALL
from tests.support.runs import environment, results_of, run_folders, sparc

KEY = {"which": 1}
FETCH = """
import json, sys
from pathlib import Path
from sparc.errors import UserError
from sparc.storage.cache import fetch, forget
from sparc.storage.disk import refuse_full, refuse_useless

root = Path(sys.argv[1])
def load(entry): return (entry / "it").read_text()
def save(entry): (entry / "it").write_text("made")
refuse_useless(str(root))
refuse_full({"paths.cache": str(root)})
for kind, key in (("scores", 1), ("scores", 2), ("arms", 1), ("damaged", 1)):
    try:
        print(*fetch(root, kind, {"which": key}, load=load, save=save))
    except UserError as error:
        print(error)
try:
    forget(root, "scores", {"which": 1})
except UserError as error:
    print(error)
"""


def read_only(folder: Path, command: Sequence[str], home: Path) -> subprocess.CompletedProcess[str]:
    """Run `command` where `folder` is a read-only mount, which no one else sees."""
    mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, str(folder), *command],
        capture_output=True,
        text=True,
        cwd=home,
        env=environment(home),
        timeout=240,
        check=False,
    )


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An empty folder, on a machine where it can be made read-only."""
    folder = tmp_path / "cache"
    folder.mkdir()
    if shutil.which("unshare") is None or read_only(folder, ["true"], tmp_path).returncode:
        pytest.skip("nothing can be mounted here")
    return folder


def test_what_is_there_is_read_and_what_is_not_is_told(cache: Path, tmp_path: Path) -> None:
    from sparc.storage.cache import entry_folder, fetch

    def save(entry: Path) -> None:
        (entry / "it").write_text("kept")

    for kind in ("scores", "damaged"):
        fetch(cache, kind, KEY, load=lambda entry: entry, save=save)
    (entry_folder(cache, "damaged", KEY) / "it").write_text("kepd")
    before = sorted(cache.rglob("*"))
    done = read_only(cache, [sys.executable, "-c", FETCH, str(cache)], tmp_path)
    assert done.returncode == 0, done.stderr
    hit, other, arm, damaged, anew = done.stdout.splitlines()
    assert hit == "kept True"
    for line, kind in ((other, "scores"), (arm, "arms"), (damaged, "damaged")):
        assert line.startswith(f"paths.cache={cache}: {kind} "), line
        assert line.endswith("(Read-only file system); set paths.cache to a folder that can")
        assert "is missing or damaged there and cannot be written" in line
    assert anew.startswith(f"paths.cache={cache}: scores ") and anew.endswith("made anew there")
    assert sorted(cache.rglob("*")) == before


def test_an_empty_read_only_cache_is_refused_before_anything(cache: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sparc", f"paths.cache={cache}"]
    done = read_only(cache, command, tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"sparc: paths.cache={cache}: cannot be written (Read-only")
    assert done.stderr.count("\n") == 1 and not os.listdir(cache)


@pytest.mark.slow
def test_a_whole_run_from_a_read_only_cache(cache: Path, tmp_path: Path) -> None:
    asked = (*SMALL, f"paths.cache={cache}")
    first = sparc(*asked, home=tmp_path)
    assert first.returncode == 0, first.stderr
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    again = read_only(cache, [sys.executable, "-m", "sparc", *asked], tmp_path)
    assert again.returncode == 0, again.stderr
    one, two = (results_of(folder) for folder in run_folders(tmp_path))
    for part in ("baseline", "pruned", "change", "control", "verdict"):
        assert one[part] == two[part]
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before
    lacking = read_only(cache, [sys.executable, "-m", "sparc", *asked, "seed=1"], tmp_path)
    assert lacking.returncode == 1
    (line,) = lacking.stderr.strip().splitlines()
    assert line.startswith(f"sparc: paths.cache={cache}: baselines ") and "Read-only" in line
