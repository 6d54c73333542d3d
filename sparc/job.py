"""One job: run the pipeline and leave results.json whatever happens."""

import contextlib
import datetime
import logging
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from sparc.artifacts import write_json, write_text
from sparc.config import Config, content
from sparc.console import show
from sparc.digests import digest
from sparc.errors import UserError
from sparc.models import choose_device
from sparc.pipeline import run
from sparc.provenance import Stages, surroundings
from sparc.report import render
from sparc.report.plain import visible
from sparc.tracking import Tracker

SCHEMA_VERSION = 1
INTERRUPTED = 130  # what a shell gives for a command that Ctrl-C ended
_log = logging.getLogger(__name__)


def _interrupt_on_sigterm() -> None:
    """A polite kill leaves the same trace as Ctrl-C; another handler already set is kept."""

    def handler(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, handler)


def _describe(config: Config, started: str, seconds: float) -> dict[str, Any]:
    device = config.device
    # A device that is not there is itself the failure to be told.
    with contextlib.suppress(UserError, RuntimeError):
        device = str(choose_device(config.device))
    return {
        "name": config.name,
        "seed": config.seed,
        "config_hash": digest(content(config)),
        "started": started,
        "seconds": round(seconds, 3),
        **surroundings(device),
    }


def execute(config: Config, folder: Path) -> int:
    """Run one job in `folder` and return its exit code: 0, or 1 after a failure.

    results.json tells how it ended: ok, failed or interrupted. An interrupt is raised again, so
    that a sweep ends with it.
    """
    _interrupt_on_sigterm()
    disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers' own; ours say more
    if config.model.threads is not None:
        torch.set_num_threads(config.model.threads)
    tracker, code = Tracker(config.tracking, folder), INTERRUPTED
    try:
        code = _attempt(config, folder, tracker)
        return code
    finally:
        tracker.finish(code)


def _attempt(config: Config, folder: Path, tracker: Tracker) -> int:
    """The job itself; results.json is written however it ends, before W&B hears of the end."""
    started, clock = datetime.datetime.now(datetime.UTC).isoformat(), time.perf_counter()
    stages = Stages(listener=tracker.progress)
    parts: dict[str, Any] = {}

    def finish(status: str, reason: str | None) -> dict[str, Any]:
        head = {"schema_version": SCHEMA_VERSION, "status": status, "reason": reason}
        described = _describe(config, started, time.perf_counter() - clock)
        results = {**head, "run": described, **parts, "stages": stages.done}
        try:
            write_json(folder / "results.json", results)
        except ValueError:  # NaN or infinity has no place in JSON: the failure must still be told
            if status == "ok":
                raise
            write_json(folder / "results.json", {**head, "run": described, "stages": stages.done})
        return results

    try:
        tracker.start()
        parts = run(config, folder, stages)
        results = finish("ok", None)
        if "verdict" in results:
            write_text(folder / "report.html", render(results, folder))
        show(results, str(folder))
        return 0
    except KeyboardInterrupt:
        finish("interrupted", "stopped by a signal")
        print(f"sparc: interrupted; what was done is in {folder}", file=sys.stderr)
        raise
    except UserError as error:
        finish("failed", str(error))
        _log.info("failed: %s", error)
        print(f"sparc: {visible(str(error))}", file=sys.stderr)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        finish("failed", reason)
        _log.info("failed", exc_info=True)
        print(f"sparc: {visible(reason)} (traceback in the log, {folder})", file=sys.stderr)
    return 1
