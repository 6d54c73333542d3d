"""The two stages as commands: their tables and exit codes."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sparc.config import Config
from sparc.preflight.questions import ask

_THREADS = 16  # more than there are questions to the hub


def run_stage(configs: Sequence[Config], launcher: Mapping[str, Any]) -> int:
    """Do what the first configuration's `stage` says; 0, or 1 if anything is not as it must be.

    check looks at the first configuration, prefetch at all of them. launcher: Hydra's
    configuration of how jobs are launched.
    """
    first = configs[0]
    if first.stage == "check":
        return _check(first, launcher)
    from sparc.preflight.prefetching import prefetch
    from sparc.preflight.rows import show

    code = show(prefetch(configs), f"{first.name}: downloaded")
    if not code:
        print("From here on it runs without a network, too: HF_HUB_OFFLINE=1 sparc ...")
    return code


def _check(config: Config, launcher: Mapping[str, Any]) -> int:
    with ThreadPoolExecutor(_THREADS) as pool:
        questions = ask(config, pool)
        # torch and transformers take seconds to import, and meanwhile the hub answers
        from sparc.preflight.checking import check
        from sparc.preflight.rows import show

        return show(check(config, launcher, questions), f"{config.name}: before it runs")
