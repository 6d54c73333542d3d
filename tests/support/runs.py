"""Running the real command in a process of its own, as a user does."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.support.forks import forked

PATIENCE = 1800.0  # seconds, against hanging alone: machines may have little time for us
# Enough to see every part work, small enough for a test.
QUICK = (
    "experiment=quick",
    "evaluation.prompts=8",
    "evaluation.perplexity.documents=10",
    "evaluation.resamples=200",
)


def environment(home: Path, **extra: str) -> dict[str, str]:
    """A clean user: a home of its own, no hub, one thread."""
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ}
    offline = {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}
    offline["CUDA_VISIBLE_DEVICES"] = ""  # the same on a machine with a GPU
    return {**kept, **offline, "HOME": str(home), **extra}


def sparc(
    *overrides: str, home: Path, cwd: Path | None = None, **extra: str
) -> subprocess.CompletedProcess[str]:
    """`python -m sparc` with overrides; outputs go below `home` unless `cwd` is given."""
    return python("-m", "sparc", *overrides, cwd=cwd or home, env=environment(home, **extra))


def python(*words: str, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """`python -m MODULE ...` or `python SCRIPT ...`, which need not pay for the large imports."""
    return forked(words, cwd, env, PATIENCE) or subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def run_folders(home: Path) -> list[Path]:
    """The run directories of single runs below `home`, oldest first."""
    return sorted((home / "outputs" / "runs").iterdir())


def results_of(folder: Path) -> dict[str, Any]:
    """results.json of a run directory."""
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return results


def until(what: str, true: Callable[[], Any]) -> Any:
    """Wait until `true()` is, and return what it gives."""
    deadline = time.monotonic() + PATIENCE
    while not (value := true()):
        assert time.monotonic() < deadline, f"waited {PATIENCE:g} s in vain: {what}"
        time.sleep(0.05)
    return value


def until_in(process: "subprocess.Popen[Any]", what: str, true: Callable[[], Any]) -> None:
    """Wait until `true()` is, while `process` is at it."""
    until(what, lambda: process.poll() is not None or true())
    assert process.poll() is None, f"it ended before {what}"


def killed_after(entries: int, kind: str, *overrides: str, home: Path) -> None:
    """Start a run in `home` and kill it when home/cache holds so many entries of a kind."""
    cache = home / "cache"
    command = [sys.executable, "-m", "sparc", *overrides, f"paths.cache={cache}"]
    process = subprocess.Popen(command, cwd=home, env=environment(home))
    made = f"{entries} entries of {kind}"
    until_in(process, made, lambda: len(list(cache.glob(f"{kind}/*/manifest.json"))) >= entries)
    process.kill()
    process.wait()
