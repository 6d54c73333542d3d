"""Cases tried, by kind, at the end of a run of the property tests."""

from typing import Any

import pytest

from tests.fuzz import budget


def pytest_sessionfinish(session: Any) -> None:
    """A worker of xdist hands its counts to the process that prints."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["fuzz"] = [dict(budget.tried), dict(budget.seconds)]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add what a worker of xdist has counted."""
    tried, seconds = getattr(node, "workeroutput", {}).get("fuzz", [{}, {}])
    budget.tried.update(tried)
    budget.seconds.update(seconds)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line a kind: cases, seconds, cases a minute."""
    for kind, count in sorted(budget.tried.items()):
        spent = budget.seconds[kind]
        rate = 60 * count / spent if spent else 0
        terminalreporter.write_line(f"{kind}: {count} cases in {spent:.0f} s, {rate:.0f} a minute")
