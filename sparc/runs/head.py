"""What every results.json says first; without torch, so that a broken installation can say it."""

import datetime
import socket
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sparc.errors import UserError
from sparc.storage.locks import slurm_job

SCHEMA_VERSION = 1


def now() -> str:
    """The time as results.json has it."""
    return datetime.datetime.now(datetime.UTC).isoformat()


def head(status: str, reason: str | None) -> dict[str, Any]:
    """How a job ended.

    Args:
        status: ok, failed or interrupted.
        reason: None where it is ok.
    """
    return {"schema_version": SCHEMA_VERSION, "status": status, "reason": reason}


def why(error: BaseException) -> str:
    """The reason that results.json gives for `error`."""
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def unstarted(composed: DictConfig, error: BaseException) -> dict[str, Any]:
    """results.json of a job that failed before it began; what is not known then is null."""
    run = {
        "name": _value(composed, "name"),
        "seed": _value(composed, "seed"),
        "config_hash": None,
        "started": now(),
        "seconds": 0.0,
        "device": _value(composed, "device"),
        "gpus": [],
        "node": socket.gethostname(),
        "job_id": slurm_job(),
        "threads": None,
        "versions": {},
        "git_revision": None,
    }
    return {**head("failed", why(error)), "run": run, "stages": []}


def _value(composed: DictConfig, key: str) -> Any:
    """A plain value; None where it is missing or refers to what is."""
    try:
        value = OmegaConf.select(composed, key)
    except OmegaConfBaseException:
        return None
    return value if isinstance(value, str | int | float) else None
