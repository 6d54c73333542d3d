"""The W&B run of one job. Whatever W&B does, the job and its results go on."""

import os
import shlex
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sparc.config import TrackingConfig
from sparc.display.plain import visible
from sparc.tracking.records import describe
from sparc.tracking.upload import send_results

_BETWEEN_ROWS = 1.0  # seconds of progress that share one row


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _within(seconds: float, action: Callable[[], None]) -> Exception | None:
    """Do `action`, waiting at most `seconds`; what went wrong, if anything.

    Logging an artifact asks the server first, and waits as long as that takes.
    """
    problems: list[Exception] = [TimeoutError("the server does not answer")]

    def attempt() -> None:
        try:
            action()
            problems.clear()
        except Exception as error:
            problems[:] = [error]

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    return problems[0] if problems else None


class Tracker:
    """The W&B run of the job in `folder`; does nothing where tracking is off.

    `start`, then `progress` as often as there is any, then `finish`, always. No method raises for
    what goes wrong in W&B: one line on stderr tells what and how to upload later.
    """

    def __init__(self, config: TrackingConfig, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._run: Any = None
        self._last_row = 0.0
        self._silent = False
        self.complaints = 0

    def start(self) -> None:
        """Open the run; offline where the server cannot be had within the time-out."""
        if self._config.name == "none" or self._config.mode == "disabled":
            return
        # W&B speaks on the terminal before its settings are read, and reports its own errors home.
        os.environ.setdefault("WANDB_SILENT", "true")
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        try:
            self._run = self._open(self._config.mode)
        except Exception as error:
            self._start_offline(error)
        else:
            offline = f"recording offline; upload it with `{self._sync()}`"
            self._say(offline if self._config.mode == "offline" else str(self._run.url))

    def _start_offline(self, refused: Exception) -> None:
        try:
            self._run = self._open_offline()
        except Exception as error:
            self._complain(f"{_first_line(error)}; the run goes on untracked")
        else:
            self._complain(
                f"{_first_line(refused)}; the run goes on, recorded offline: upload it later with "
                f"`{self._sync()}`"
            )

    def _open_offline(self) -> Any:
        import wandb

        try:
            return self._open("offline")
        except Exception:  # W&B's service may still hold the refused run's id
            wandb.teardown()
            return self._open("offline")

    def _open(self, mode: str) -> Any:
        import wandb

        settings = wandb.Settings(
            init_timeout=self._config.init_timeout,
            login_timeout=self._config.init_timeout,
            finish_timeout=self._config.finish_timeout / 2,
            finish_timeout_raises=True,
            silent=True,
            console="off",
            # command line, host, executable, packages and git state all name this machine; what
            # matters of them stands in results.json
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_disable_stats=True,
            x_save_requirements=False,
            disable_git=True,
            disable_code=True,
            save_code=False,
        )
        return wandb.init(
            mode=mode,  # type: ignore[arg-type]  # checked with the configuration
            dir=str(self._folder.resolve()),
            project=self._config.project,
            entity=self._config.entity,
            resume="allow" if mode == "online" else None,  # offline, `wandb sync` does it by the id
            settings=settings,
            **describe(self._folder, self._config.tags),
        )

    def progress(self, description: str, done: int, total: int) -> None:
        """Tell how much of a stage is done, at most once a second and at its end."""
        now = time.monotonic()
        due = done >= total or now - self._last_row >= _BETWEEN_ROWS
        if self._run is None or self._silent or total <= 0 or not due:
            return
        self._last_row = now
        try:
            self._run.log({f"progress/{description.split(':')[0]}": done / total})
        except Exception as error:
            self._complain(f"{_first_line(error)}; no more progress is shown there")
            self._silent = True

    def finish(self, code: int) -> None:
        """Send what the run directory holds and close the run with the job's exit code."""
        run, problem = self._run, None
        if run is None:
            return
        try:
            problem = _within(
                self._config.finish_timeout / 2,
                lambda: send_results(run, self._folder, self._config.completions),
            )
        finally:  # also when Ctrl-C ends the waiting
            try:
                run.finish(exit_code=code)
            except Exception as error:
                problem = problem or error
        if problem is not None:
            self._complain(f"{_first_line(problem)}; upload what is missing with `{self._sync()}`")
        self._run = None

    def _sync(self) -> str:
        # Relative, as the artifact's paths are: both count from where the run was started.
        folder = os.path.relpath(Path(self._run.dir).parent)
        return shlex.join(["wandb", "sync", folder])

    def _complain(self, message: str) -> None:
        self.complaints += 1
        self._say(message)

    def _say(self, message: str) -> None:
        print(f"sparc: W&B: {visible(message)}", file=sys.stderr)
