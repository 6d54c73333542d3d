"""Waiting until the jobs of a sweep have ended, however they end, and leaving them on Ctrl-C."""

import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from sparc.display.console import progress
from sparc.storage.locks import held
from sparc.sweeps import slurm
from sparc.sweeps.submitted import Submission, write_submitted

_GLANCE = 1.0  # seconds between looks at files
_SHORTEST, _LONGEST = 2.0, 30.0  # seconds between questions to Slurm, more as time goes by
# Why a job is usually pending. Anything else is worth telling: it may wait for ever.
_USUAL = ("None", "Resources", "Priority", "JobArrayTaskLimit", "BeginTime", "Cleaning", "Prolog")


def await_all(folder: Path, submissions: Iterable[Submission], busy: Collection[Path] = ()) -> None:
    """Return when every one of `submissions` has left Slurm's queue and no lock of `busy` is held.

    `folder` is the sweep's. On Ctrl-C says how to cancel the jobs or to come back, and leaves them.
    """
    waiting, locks, watch = {each.id: each for each in submissions}, set(busy), _Watch()
    if not waiting and not locks:
        return
    try:
        with progress("jobs", len(waiting) + len(locks)) as advance:
            while waiting or locks:
                ended = {name for name, each in waiting.items() if each.result(folder).exists()}
                ended |= watch.gone(waiting)
                free = {path for path in locks if held(path) is None}
                waiting = {name: each for name, each in waiting.items() if name not in ended}
                locks -= free
                advance(len(ended) + len(free))
                if waiting or locks:
                    time.sleep(_GLANCE)
    except KeyboardInterrupt:
        _say_how_to_come_back(waiting, len(locks))
        raise


def _say_how_to_come_back(waiting: Collection[str], others: int) -> None:
    if waiting:
        ids = " ".join(sorted({name.split("_")[0] for name in waiting}))
        print(
            f"sparc: {len(waiting)} jobs go on in Slurm: `scancel {ids}` ends them, "
            "the same command again waits for them",
            file=sys.stderr,
        )
    if others:
        print(f"sparc: {others} jobs go on in other processes", file=sys.stderr)


class _Watch:
    """Asks Slurm what is in its queue, less often as time goes by."""

    def __init__(self) -> None:
        self._started = self._asked = time.monotonic()
        self._absent: set[str] = set()
        self._told: set[str] = set()

    def gone(self, ids: Collection[str]) -> set[str]:
        """Those of `ids` that were in the queue neither now nor the last time."""
        now = time.monotonic()
        pause = min(_LONGEST, max(_SHORTEST, (now - self._started) / 20))
        if not ids or now - self._asked < pause:
            return set()
        self._asked = now
        try:
            there = slurm.queue()
        except slurm.Silent:  # a busy controller: ask again
            return set()
        reasons = {there[name].reason for name in ids if name in there} - self._told
        for reason in sorted(reasons):
            if reason and not reason.startswith(_USUAL):
                print(f"sparc: Slurm says of jobs in its queue: {reason}", file=sys.stderr)
        self._told |= reasons
        before, self._absent = self._absent, set(ids) - there.keys()
        return before & self._absent  # twice: a job that is requeued may be between two states


def run_at_most(
    parallel: int,
    submit: Callable[..., Any],
    calls: Sequence[tuple[Any, ...]],
    folder: Path,
) -> None:
    """Submit each of `calls`, a job's overrides and more, so that `parallel` run at a time.

    On Ctrl-C they are interrupted, too.
    """
    queue, running = list(calls), list[Any]()
    try:
        with progress("jobs", len(calls)) as advance:
            while queue or running:
                while queue and len(running) < max(1, parallel):
                    overrides, *more = queue.pop(0)
                    job = submit(overrides, *more)
                    running.append(job)
                    write_submitted(folder, [Submission("local", job.job_id, tuple(overrides))])
                time.sleep(_GLANCE / 4)
                still = [job for job in running if not job.done()]
                advance(len(running) - len(still))
                running = still
    except KeyboardInterrupt:
        for job in running:
            job.cancel()
        while not all(job.done() for job in running):
            time.sleep(_GLANCE / 4)
        raise
