"""The two stages as commands: their tables and exit codes."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sparc.config import Config
from sparc.preflight.needs import ask

_THREADS = 16  # more than there are questions to the hub


def run_stage(configs: Sequence[Config], launcher: Mapping[str, Any]) -> int:
    """Do what the first configuration's `stage` says.

    Args:
        configs: check looks at the first one, prefetch at all of them.
        launcher: Hydra's configuration of how jobs are launched.

    Returns:
        0, or 1 if anything is not as it must be.
    """
    first = configs[0]
    # torch and transformers take seconds to import, and meanwhile the hub answers
    with ThreadPoolExecutor(_THREADS) as pool:
        answers = ask(first, pool) if first.stage == "check" else {}
        from sparc.preflight.checking import check
        from sparc.preflight.fetching import prefetch
        from sparc.preflight.findings import show

        if first.stage == "check":
            return show(check(first, launcher, answers), f"{first.name}: before it runs")
    code = show(prefetch(configs), f"{first.name}: downloaded")
    if not code:
        print("From here on it runs without a network, too: HF_HUB_OFFLINE=1 sparc ...")
    return code
