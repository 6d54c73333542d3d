"""The cache: whole or not there, verified, computed once."""

import json
import logging
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sparc.components.scores import Scores, load_scores, save_scores
from sparc.components.sites import Site
from sparc.storage.cache import fetch
from tests.support.runs import PATIENCE, until
from tests.support.scored import scored

KEY = {"model": "m", "references": "r", "formula": 1}
SHAPE = (2, 3)
SITES = [Site(layer, "neurons", (3,)) for layer in range(2)]


def _save(folder: Path) -> None:
    values = torch.arange(6, dtype=torch.float64).reshape(SHAPE)
    save_scores(scored(values, 4, torch.ones(4, dtype=torch.float64)), folder)


def _load(folder: Path) -> Scores:
    return load_scores(folder, "neurons", SITES)


def _fetch(root: Path) -> tuple[Scores, bool]:
    return fetch(root, "scores", KEY, load=_load, save=_save)


def _entry(root: Path) -> Path:
    (entry,) = [path for path in (root / "scores").iterdir() if path.is_dir()]
    return entry


def test_second_time_comes_from_the_cache(tmp_path: Path) -> None:
    fresh, was_there = _fetch(tmp_path)
    assert not was_there
    cached, was_there = _fetch(tmp_path)
    assert was_there
    assert torch.equal(cached.stacked(), fresh.stacked())
    assert cached.samples == 4


def test_only_the_key_decides(tmp_path: Path) -> None:
    _fetch(tmp_path)
    _, was_there = fetch(tmp_path, "scores", {**KEY, "formula": 2}, load=_load, save=_save)
    assert not was_there
    _, was_there = fetch(tmp_path, "scores", dict(reversed(KEY.items())), load=_load, save=_save)
    assert was_there


def _tensors(entry: Path) -> Path:
    return entry / "neurons-001.safetensors"


def _flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))


def _edit_manifest(entry: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = entry / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def _wrong_shape(entry: Path) -> None:
    wrong = scored(torch.zeros(5, 3, dtype=torch.float64), 4, torch.zeros(4, dtype=torch.float64))
    other = entry.parent / "other"
    fetch(other, "scores", KEY, load=lambda folder: folder, save=lambda f: save_scores(wrong, f))
    (made,) = [path for path in (other / "scores").iterdir() if path.is_dir()]
    for file in made.iterdir():
        os.replace(file, entry / file.name)


CORRUPTIONS: dict[str, Callable[[Path], object]] = {
    "truncated": lambda e: os.truncate(_tensors(e), 40),
    "emptied": lambda e: os.truncate(_tensors(e), 0),
    "flipped byte in the data": lambda e: _flip(_tensors(e), -3),
    "flipped byte in the header": lambda e: _flip(_tensors(e), 9),
    "appended": lambda e: _tensors(e).write_bytes(_tensors(e).read_bytes() + b"x"),
    "missing tensors": lambda e: _tensors(e).unlink(),
    "missing manifest": lambda e: (e / "manifest.json").unlink(),
    "manifest is no JSON": lambda e: (e / "manifest.json").write_text("{"),
    "manifest without files": lambda e: _edit_manifest(e, lambda m: m.pop("files")),
    "foreign key": lambda e: _edit_manifest(e, lambda m: m["key"].update(model="other")),
    "wrong shape": _wrong_shape,
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corrupt_entry_is_named_and_computed_again(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fresh, _ = _fetch(tmp_path)
    entry = _entry(tmp_path)
    CORRUPTIONS[name](entry)
    with caplog.at_level(logging.WARNING):
        again, was_there = _fetch(tmp_path)
    assert not was_there
    assert torch.equal(again.stacked(), fresh.stacked())
    assert any(entry.name in message and "corrupt" in message for message in caplog.messages)
    assert _fetch(tmp_path)[1]


def test_a_failed_computation_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fetch(tmp_path, "scores", KEY, load=_load, save=fail)
    assert list((tmp_path / "scores").iterdir()) == []


def test_crumbs_of_killed_processes_are_swept(tmp_path: Path) -> None:
    _fetch(tmp_path)
    entry = _entry(tmp_path)
    crumb = entry.with_name(f".{entry.name}.1234.tmp")
    crumb.mkdir()
    (crumb / "half").write_text("half")
    (entry / "manifest.json").unlink()
    _fetch(tmp_path)
    assert [path.name for path in (tmp_path / "scores").iterdir()] == [entry.name]


def test_a_process_that_lost_its_entry_reads_the_successors(tmp_path: Path) -> None:
    # As after a long suspension: another process took the lock, swept, and wrote the entry.
    calls: list[str] = []

    def save(folder: Path) -> None:
        calls.append("first")
        shutil.rmtree(folder)
        (lock,) = (tmp_path / "scores").glob("*.lock")
        lock.unlink()
        _fetch(tmp_path)
        _save(folder)

    scores, was_there = fetch(tmp_path, "scores", KEY, load=_load, save=save)
    assert was_there and scores.samples == 4 and calls == ["first"]


def _slow_worker(root: Path, log: Path, seconds: float) -> None:
    def save(folder: Path) -> None:
        with log.open("a") as file:
            file.write("computed\n")
        time.sleep(seconds)
        _save(folder)

    fetch(root, "scores", KEY, load=_load, save=save)


def _start(root: Path, log: Path, seconds: float) -> Any:
    process = multiprocessing.get_context("fork").Process(
        target=_slow_worker, args=(root, log, seconds)
    )
    process.start()
    return process


def test_two_processes_compute_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    workers = [_start(tmp_path, log, 1.0) for _ in range(3)]
    for worker in workers:
        worker.join(PATIENCE)
        assert worker.exitcode == 0
    assert log.read_text().splitlines() == ["computed"]
    assert [p.name for p in (tmp_path / "scores").iterdir()] == [_entry(tmp_path).name]


def test_a_killed_holder_is_succeeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparc.storage.locks._STALE", PATIENCE)  # nobody waits for its silence
    log = tmp_path / "log"
    holder = _start(tmp_path, log, PATIENCE)
    until("its work", log.exists)
    os.kill(holder.pid, signal.SIGKILL)
    holder.join(PATIENCE)
    _slow_worker(tmp_path, log, 0.0)
    assert log.read_text().splitlines() == ["computed", "computed"]
    assert _fetch(tmp_path)[1]


def test_a_silent_holder_on_another_machine_is_succeeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sparc.storage.locks._STALE", 0.5)
    _fetch(tmp_path)
    entry = _entry(tmp_path)
    lock = entry.with_name(entry.name + ".lock")
    lock.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "t"}))
    (entry / "manifest.json").unlink()
    _, was_there = _fetch(tmp_path)
    assert not was_there
    told = [line.partition(": ")[2] for line in caplog.messages if "elsewhere is" in line]
    assert told == [
        "process 1 on elsewhere is at it",
        "process 1 on elsewhere is gone; taking over",
    ]
    assert not lock.exists()
