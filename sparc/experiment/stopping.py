"""What a job does when it is told to stop: by Ctrl-C, by a polite kill, or by Slurm.

Slurm ends jobs for reasons of its own (a job of higher priority, the time limit) and can start
them again later. submitit asks for that on SIGUSR2, which ends the process with SystemExit. SIGTERM
alone comes before a preemption as well as after scancel: a job that exits then is not started
again, so it goes on until it is killed, but leaves word.
"""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType

_SUBMITIT = "SUBMITIT_EXECUTOR"
_log = logging.getLogger(__name__)


class Refused(BaseException):
    """Slurm is about to end this job and will not start it again; the message says why.

    Not an Exception: raised wherever the signal finds the job, and to be caught by nothing there.
    """


@contextlib.contextmanager
def stoppable(leave_word: Callable[[str], object]) -> Iterator[None]:
    """Handle the signals that end a job; the handlers from before come back afterwards.

    Under submitit on Slurm, SIGTERM calls `leave_word(reason)` and SIGUSR2 requeues or raises
    Refused. Elsewhere SIGTERM is KeyboardInterrupt, unless somebody else handles it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    terminate, requeue = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR2)
    handlers: dict[int, Callable[[int, FrameType | None], object]] = {}
    if os.environ.get(_SUBMITIT) == "slurm" and callable(requeue):
        handlers[signal.SIGTERM] = lambda _signal, _frame: _left(leave_word)
        handlers[signal.SIGUSR2] = partial(_requeued, requeue)
    elif terminate == signal.SIG_DFL or os.environ.get(_SUBMITIT) == "local":
        handlers[signal.SIGTERM] = signal.default_int_handler
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _left(leave_word: Callable[[str], object]) -> None:
    try:
        leave_word("Slurm asked it to stop (SIGTERM): cancelled, preempted or out of time")
    except Exception:  # it would end the job at whatever line the signal has found it
        _log.exception("no word left")


def _requeued(handler: Callable[..., object], number: int, frame: FrameType | None) -> None:
    try:
        handler(number, frame)
    except Exception as error:
        raise Refused(f"{error} (see hydra.launcher.timeout_min and max_num_timeout)") from None
