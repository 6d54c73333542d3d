"""Waiting until the jobs of a sweep have ended, however they end, and leaving them on Ctrl-C."""

import sys
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from sparc.display.progress import progress
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
    waiting = {each.id: each for each in submissions}
    locks = set(busy)
    if not waiting and not locks:
        return
    watch = _Watch()
    try:
        with progress("jobs", len(waiting) + len(locks)) as advance:
            while waiting or locks:
                ended = [each for each in waiting.values() if each.result(folder).exists()]
                ended += [waiting[name] for name in watch.gone(waiting)]
                free = {path for path in locks if held(path) is None}
                waiting = {key: each for key, each in waiting.items() if each not in ended}
                locks -= free
                advance(len(set(ended)) + len(free))
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
        self._tell({there[name].reason for name in ids if name in there})
        absent = {name for name in ids if name not in there}
        # twice, because a job that is requeued may be between two states
        twice, self._absent = absent & self._absent, absent
        return twice

    def _tell(self, reasons: set[str]) -> None:
        for reason in sorted(reasons - self._told):
            if reason and not reason.startswith(_USUAL):
                print(f"sparc: Slurm says of jobs in its queue: {reason}", file=sys.stderr)
        self._told |= reasons


def run_at_most(
    parallel: int,
    executor: Any,
    calls: Sequence[tuple[tuple[str, ...], tuple[Any, ...]]],
    folder: Path,
) -> None:
    """Run `calls` (overrides, arguments) in processes of this machine, `parallel` at a time.

    On Ctrl-C they are interrupted, too.
    """
    queue, running = list(calls), list[Any]()
    try:
        with progress("jobs", len(calls)) as advance:
            while queue or running:
                while queue and len(running) < max(1, parallel):
                    overrides, arguments = queue.pop(0)
                    running.append(executor.submit(*arguments))
                    write_submitted(folder, [Submission("local", running[-1].job_id, overrides)])
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
