"""How many cases a property test tries: few in `make test`, many in `make fuzz`.

`FUZZ=1` in the environment asks for the large budget; `--hypothesis-seed` says which cases.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, Phase, settings

LARGE = os.environ.get("FUZZ") == "1"
HANG = 10.0
"""Seconds after which a case counts as hanging."""

tried: Counter[str] = Counter()
"""Cases tried, by kind; tests/fuzz/conftest.py prints them with their rate."""
seconds: Counter[str] = Counter()
"""Seconds spent in cases, by kind."""


def budget(small: int, large: int) -> Callable[[Any], Any]:
    """Hypothesis settings for `small` examples, or for `large` ones under `make fuzz`."""
    return settings(
        max_examples=large if LARGE else small,
        deadline=None,
        derandomize=not LARGE,
        database=None,
        print_blob=True,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


class Hang(BaseException):
    """A case took longer than `HANG` seconds."""


@contextmanager
def case(kind: str, limit: float = HANG) -> Iterator[None]:
    """One case of `kind`, counted and timed. Raises Hang after `limit` seconds."""

    def ring(_signal: int, _frame: Any) -> None:
        raise Hang(f"{kind}: more than {limit:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit)
    started = time.perf_counter()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        tried[kind] += 1
        seconds[kind] += time.perf_counter() - started
