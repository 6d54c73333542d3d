"""stage=clean: what the cache holds, what goes, and what never does."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sparc.clean import clean
from sparc.config import CleanConfig, Config, PathsConfig, content
from sparc.errors import UserError
from sparc.storage.cache import entry_folder, fetch
from sparc.storage.cleaning import items
from sparc.storage.digests import digest
from sparc.storage.locks import clear_dead, held, lock
from sparc.sweep import conclude
from sparc.sweeps.jobs import RUNNING
from tests.support.composed import composed
from tests.support.runs import environment
from tests.support.sweep_run import make_sweep

DAY = 86400.0
DEAD = {"host": "elsewhere", "pid": 1, "token": "t"}


def made(root: Path, kind: str, number: int, days: float) -> Path:
    """An entry of the cache that was last used so many days ago."""
    key = {"number": number}
    fetch(root, kind, key, load=lambda f: f, save=lambda f: (f / "x").write_text("x" * 1000))
    folder = entry_folder(root, kind, key)
    aged(folder / "manifest.json", days)
    return folder


def aged(path: Path, days: float) -> Path:
    os.utime(path, (time.time() - days * DAY,) * 2, follow_symlinks=False)
    return path


def cleaned(root: Path, days: int = 30, dry_run: bool = False) -> int:
    paths = PathsConfig(cache=str(root), outputs=str(root.parent / "outputs"))
    return clean(Config(stage="clean", paths=paths, clean=CleanConfig(days, dry_run)))


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A cache with an old and a new entry, and an unfinished attribution and crumbs of each age."""
    root = tmp_path / "cache"
    for number, days in enumerate((40.0, 29.0)):
        entry = made(root, "scores", number, days)
        made(root, "arms", number, days)
        unfinished = entry.with_name(f"{digest(number)[:32]}.partial.safetensors")
        unfinished.write_text("partial")
        aged(unfinished, days)
        old = 2.0 - 1.5 * number
        crumb = entry.with_name(f".{entry.name}.{digest(number)[:32]}.tmp")
        crumb.mkdir()
        (crumb / "half").write_text("half")
        aged(crumb, old)
        dead = entry.with_name(f"{digest(['lock', number])[:32]}.lock")
        dead.write_text(json.dumps(DEAD))
        aged(dead, old)
    return root


def test_it_lists_by_kind_and_removes_nothing_unless_told(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(root)
    assert cleaned(root, dry_run=True) == 0
    out = capsys.readouterr().out
    assert files(root) == before
    assert "nothing removed yet: clean.dry_run=false removes 2 entries, 1 unfinished" in out
    assert "2 leftovers of killed processes" in out
    (arms,) = (line.split() for line in out.splitlines() if line.strip().startswith("arms"))
    day = time.strftime("%Y-%m-%d", time.localtime(time.time() - 29 * DAY))
    assert arms[:2] == ["arms", "2"] and day in arms


def test_what_is_old_goes_and_what_is_not_stays(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = [entry_folder(root, kind, {"number": 0}) for kind in ("scores", "arms")]
    new = [entry_folder(root, kind, {"number": 1}) for kind in ("scores", "arms")]
    assert cleaned(root) == 0
    assert "removed 2 entries, 1 unfinished attributions, 2 leftovers" in capsys.readouterr().out
    assert not any(each.exists() for each in old) and all(each.is_dir() for each in new)
    assert sorted(each.what for each in items(root)) == [
        *("entry", "entry", "leftover", "leftover", "unfinished")
    ]
    assert cleaned(root, days=0) == 0
    assert {each.what for each in items(root)} == {"leftover"}  # those go after a day


def test_reading_an_entry_is_using_it(tmp_path: Path) -> None:
    folder = made(tmp_path / "cache", "scores", 0, 40.0)
    value, was_there = fetch(
        tmp_path / "cache", "scores", {"number": 0}, load=lambda f: f, save=lambda _: None
    )
    assert was_there and value == folder
    cleaned(tmp_path / "cache")
    assert folder.is_dir()


@contextmanager
def another_process(path: Path) -> Iterator[None]:
    """A process that holds the lock file `path`."""
    code = f"import pathlib, sparc.storage.locks as l, sys\nwith l.lock(pathlib.Path({str(path)!r})"
    code += ", 'it'):\n    print(flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:  # type: ignore[call-overload]
        process.stdout.readline()
        yield
        process.stdin.close()


def test_what_a_living_process_holds_stays(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = entry_folder(root, "scores", {"number": 0})
    crumb = next(folder.parent.glob(f".{folder.name}.*"))
    with another_process(folder.with_name(folder.name + ".lock")):
        cleaned(root)
        assert folder.is_dir() and crumb.is_dir()
        assert held(folder.with_name(folder.name + ".lock"))
    assert "left 2: in use, or not this user's to remove" in capsys.readouterr().out


def test_nothing_foreign_and_nothing_outside_is_touched(tmp_path: Path) -> None:
    other, root = tmp_path / "other", tmp_path / "cache"
    precious = made(other, "scores", 0, 400.0)
    (other / "scores" / f"{digest(9)[:32]}.lock").write_text("mine")
    aged(other / "scores" / f"{digest(9)[:32]}.lock", 400)
    inside = made(root, "scores", 1, 400.0)
    (inside / "out").symlink_to(other)  # goes as a link
    (root / "linked").symlink_to(other / "scores")
    (root / "scores" / precious.name).symlink_to(precious)
    (root / "scores" / f".{precious.name}.{digest(1)[:32]}.tmp").symlink_to(precious)
    (root / "scores" / f"{digest(2)[:32]}.lock").symlink_to(other / "scores")
    (root / "detoxify").mkdir()
    foreign = [root / "notes.txt", root / "detoxify" / "toxic.ckpt", root / "scores" / "mine"]
    foreign += [root / "scores" / digest(3)[:32]]  # named like an entry, without a manifest
    for path in foreign[:2]:
        path.write_text("mine")
    for path in foreign[2:]:
        path.mkdir()
        (path / "x").write_text("mine")
    for path in (*foreign, *root.glob("scores/*"), *root.glob("scores/.*")):
        if not (path / "manifest.json").exists():
            aged(path, 400)
    before = files(other)
    left = files(root) - {str(p.relative_to(root)) for p in (inside, *inside.iterdir())}
    cleaned(root, days=0)
    assert files(other) == before and files(root) == left


def test_dead_locks_of_jobs_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, outputs = tmp_path / "cache", tmp_path / "outputs"
    folders = [outputs / "runs" / "killed", outputs / "runs" / "alive", outputs / "sweeps" / "s"]
    folders.append(folders[-1] / "job")
    for folder in folders:
        folder.mkdir(parents=True)
    gone = [folders[0] / RUNNING, folders[2] / ".sweep.lock", folders[3] / RUNNING]
    for path in gone:
        path.write_text(json.dumps(DEAD))
        aged(path, 1)
    (folders[0] / "notes.lock").write_text("mine")
    with lock(folders[1] / RUNNING, "a job"):
        cleaned(root, dry_run=True)
        assert all(path.exists() for path in gone)
        cleaned(root)
        assert (folders[1] / RUNNING).exists()
    assert "removes 3 dead locks in paths.outputs" in capsys.readouterr().out
    assert not any(path.exists() for path in gone) and (folders[0] / "notes.lock").exists()


def test_the_table_of_a_sweep_leaves_no_dead_lock(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    one, two = sorted(path.parent for path in sweep.glob("*/results.json"))[:2]
    aged_lock = one / RUNNING
    aged_lock.write_text(json.dumps(DEAD))
    aged(aged_lock, 1)
    with lock(two / RUNNING, "a job"):
        conclude(sweep)
        assert not aged_lock.exists() and (two / RUNNING).exists()


def test_a_lock_is_cleared_only_where_nobody_alive_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not clear_dead(path)
    with lock(path, "a test"):
        assert not clear_dead(path) and path.exists()
    path.write_text(json.dumps(DEAD))
    assert not clear_dead(path)  # it was touched just now
    aged(path, 0.01)
    assert clear_dead(path) and list(tmp_path.iterdir()) == []


def test_a_process_that_lost_its_lock_does_not_keep_its_successors_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparc.storage.locks._HEARTBEAT", 0.05)
    path = tmp_path / "lock"
    with lock(path, "a test"):
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert path.stat().st_mtime > 0  # it beats
        path.write_text(json.dumps(DEAD))  # as after a suspension in which another took over
        os.utime(path, (0, 0))
        time.sleep(0.5)
        assert path.stat().st_mtime == 0
    assert json.loads(path.read_text()) == DEAD


def test_what_is_cleaned_changes_no_result() -> None:
    plain, other = Config(name="n"), Config(name="n", clean=CleanConfig(1, False))
    assert content(plain) == content(other)
    with pytest.raises(UserError, match=r"clean\.older_than_days=-1: must not be negative"):
        composed("clean.older_than_days=-1")


def test_the_command_needs_no_torch(tmp_path: Path) -> None:
    made(tmp_path / "cache", "scores", 0, 40.0)
    code = "import sys; from sparc.app import main; import atexit; atexit.register(lambda: print("
    code += "[n for n in ('torch', 'transformers', 'datasets') if n in sys.modules])); main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "stage=clean", f"paths.cache={tmp_path / 'cache'}"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0 and "scores" in done.stdout, done.stderr
    assert done.stdout.rstrip().endswith("[]") and not (tmp_path / "outputs").exists()
