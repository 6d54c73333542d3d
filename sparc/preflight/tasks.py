"""The tasks of lm-evaluation-harness: whether they are known, and fetching their data."""

from sparc.config import LmEvalConfig
from sparc.evaluation.harness import fetch_tasks, known_tasks
from sparc.preflight.rows import Row, failures

_NAME = "lm-eval tasks"


def check_tasks(config: LmEvalConfig) -> list[Row]:
    """One row where tasks are asked for, else none; reads no data of theirs."""
    rows: list[Row] = []
    if config.tasks:
        with failures(rows, _NAME, _named(config)):
            known_tasks(config)
            rows.append(Row(_NAME, True, f"{_named(config)}: known; their data are not looked at"))
    return rows


def fetch_task_data(config: LmEvalConfig) -> list[Row]:
    """Load the tasks as a run does, which downloads their data into the hub's cache."""
    rows: list[Row] = []
    if config.tasks:
        with failures(rows, _NAME, _named(config)):
            fetch_tasks(config)
            rows.append(Row(_NAME, True, f"{_named(config)}: data read"))
    return rows


def _named(config: LmEvalConfig) -> str:
    return ", ".join(config.tasks)
