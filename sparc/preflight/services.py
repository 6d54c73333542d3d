"""What a run talks to besides the hub: Slurm and Weights & Biases."""

import contextlib
import netrc
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from sparc.config import TrackingConfig
from sparc.preflight.findings import Row
from sparc.sweeps.slurm import Silent, nodes, request_complaint

_WANDB = "https://api.wandb.ai"


def is_slurm(launcher: Mapping[str, Any]) -> bool:
    """Whether jobs go to Slurm, by Hydra's configuration of how they are launched."""
    return str(launcher.get("_target_", "")).endswith("SlurmLauncher")


def partition_row(launcher: Mapping[str, Any]) -> Row | None:
    """Whether Slurm takes jobs for the partition asked for, and what its nodes have.

    None where jobs do not go there.
    """
    if not is_slurm(launcher):
        return None
    partition, complaint = launcher.get("partition"), request_complaint(launcher)
    name = "the default partition" if partition is None else str(partition)
    if complaint is None:
        with contextlib.suppress(Silent):
            gpus = launcher.get("gpus_per_node") or 0
            fit = [str(node) for node in nodes(partition) if node.gpus >= gpus]
            name += f", nodes with {' or '.join(fit)}"
    return Row("partition", complaint is None, name, complaint)


def tracking_row(tracking: TrackingConfig) -> Row | None:
    """Whether there is a key for W&B; None where runs are not sent there."""
    if tracking.name != "wandb" or tracking.mode != "online":
        return None
    host = urlsplit(os.environ.get("WANDB_BASE_URL", _WANDB)).hostname or ""
    if os.environ.get("WANDB_API_KEY") or _in_netrc(host):
        return Row("tracking", True, f"W&B, a key for {host}")
    return Row(
        "tracking",
        False,
        f"W&B, no key for {host}",
        "`wandb login`, or set WANDB_API_KEY; with tracking.mode=offline runs are uploaded later",
    )


def _in_netrc(host: str) -> bool:
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
