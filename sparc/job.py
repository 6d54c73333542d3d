"""One job: run the pipeline and leave results.json whatever happens."""

import contextlib
import datetime
import logging
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from sparc.artifacts import write_json, write_text
from sparc.config import Config, content
from sparc.console import show
from sparc.digests import digest
from sparc.disk import NO_SPACE, no_space
from sparc.errors import UserError
from sparc.locks import lock, slurm_job
from sparc.models import choose_device
from sparc.pipeline import run
from sparc.provenance import Stages, surroundings
from sparc.report import render
from sparc.report.plain import visible
from sparc.stopping import Refused, allotted_threads, stoppable
from sparc.sweeps.jobs import RUNNING, outcome
from sparc.tracking import Tracker

SCHEMA_VERSION = 1
INTERRUPTED = 130  # what a shell gives for a command that Ctrl-C ended
_log = logging.getLogger(__name__)


@dataclass
class _Record:
    """What results.json will say of a job, however it ends; `parts` is what the pipeline found."""

    config: Config
    folder: Path
    stages: Stages
    parts: dict[str, Any] = field(default_factory=dict)
    ended: bool = False
    started: str = field(default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat())
    clock: float = field(default_factory=time.perf_counter)

    def finish(self, status: str, reason: str | None) -> dict[str, Any]:
        """Write results.json and return what it holds."""
        self.ended = True
        head = {"schema_version": SCHEMA_VERSION, "status": status, "reason": reason}
        described = self._described()
        results = {**head, "run": described, **self.parts, "stages": self.stages.done}
        path = self.folder / "results.json"
        try:
            write_json(path, results)
        except ValueError:  # NaN or infinity has no place in JSON: the failure must still be told
            if status == "ok":
                raise
            write_json(path, {**head, "run": described, "stages": self.stages.done})
        return results

    def leave_word(self, reason: str) -> None:
        """Say that the job was told to stop, in case that it does not end by itself."""
        if not self.ended:
            self.finish("interrupted", reason)

    def _described(self) -> dict[str, Any]:
        config, device = self.config, self.config.device
        # A device that is not there is itself the failure to be told.
        with contextlib.suppress(UserError, RuntimeError):
            device = str(choose_device(config.device))
        return {
            "name": config.name,
            "seed": config.seed,
            "config_hash": digest(content(config)),
            "started": self.started,
            "seconds": round(time.perf_counter() - self.clock, 3),
            **surroundings(device),
        }


def execute(config: Config, folder: Path, *, resume: bool = False) -> int:
    """Run one job in `folder` and return its exit code: 0, or 1 after a failure.

    results.json tells how it ended: ok, failed or interrupted. An interrupt is raised again, so
    that a sweep ends with it. One process at a time works in a folder; with `resume` a job that is
    done there already is left as it is.
    """
    with lock(folder / RUNNING, f"job {folder.name}"):
        if resume and outcome(folder / "results.json")[0] == "ok":
            _log.info("done already")
            return 0
        (folder / "results.json").unlink(missing_ok=True)  # how an earlier attempt ended
        return _execute(config, folder)


def _execute(config: Config, folder: Path) -> int:
    disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers' own; ours say more
    logging.raiseExceptions = False  # a log on a full disk must not flood the terminal
    threads = config.model.threads or allotted_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    if job := slurm_job():
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
        _log.info("Slurm job %s: %s threads, GPUs %s", job, torch.get_num_threads(), gpus)
    tracker, code = Tracker(config.tracking, folder), INTERRUPTED
    try:
        code = _attempt(config, folder, tracker)
        return code
    finally:
        tracker.finish(code)


def _attempt(config: Config, folder: Path, tracker: Tracker) -> int:
    """The job itself; results.json is written however it ends, before W&B hears of the end."""
    stages = Stages(listener=tracker.progress)
    record = _Record(config, folder, stages)
    try:
        with stoppable(record.leave_word):
            tracker.start()
            run(config, folder, stages, record.parts)
            results = record.finish("ok", None)
            if "verdict" in results:
                write_text(folder / "report.html", render(results, folder))
        show(results, str(folder))
        return 0
    except KeyboardInterrupt:
        record.finish("interrupted", "stopped by a signal")
        print(f"sparc: interrupted; what was done is in {folder}", file=sys.stderr)
        raise
    except (UserError, Refused) as error:
        record.finish("failed", str(error))
        _log.info("failed: %s", error)
        print(f"sparc: {visible(str(error))}", file=sys.stderr)
    except Exception as error:
        if no_space(error):
            with contextlib.suppress(OSError):  # there may be no room even for this
                record.finish("failed", NO_SPACE)
            print(f"sparc: {NO_SPACE}", file=sys.stderr)
            return 1
        reason = f"{type(error).__name__}: {error}"
        record.finish("failed", reason)
        _log.info("failed", exc_info=True)
        print(f"sparc: {visible(reason)} (traceback in the log, {folder})", file=sys.stderr)
    return 1
