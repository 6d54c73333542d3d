"""`python -m sparc.track DIR ...`: log finished runs to W&B after the fact."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sparc.config import TrackingConfig
from sparc.errors import UserError
from sparc.tracking import Tracker

_EXIT_CODES = {"ok": 0, "failed": 1, "interrupted": 130}


def finished_runs(folders: Sequence[Path]) -> list[Path]:
    """The run directories at or below `folders`. Raises UserError where one holds none."""
    found: list[Path] = []
    for folder in folders:
        runs = sorted(
            path.parent
            for path in folder.rglob("results.json")
            if (path.parent / ".hydra").is_dir()
        )
        if not runs:
            raise UserError(f"{folder}: holds no finished run; give a run directory or a sweep's")
        found += runs
    return list(dict.fromkeys(found))


def track(folder: Path, config: TrackingConfig) -> bool:
    """Log the finished run in `folder` as the job would have; whether W&B took all of it."""
    status = json.loads((folder / "results.json").read_text(encoding="utf-8"))["status"]
    tracker = Tracker(config, folder)
    tracker.start()
    tracker.finish(_EXIT_CODES.get(status, 1))
    return tracker.complaints == 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sparc.track", description=__doc__)
    defaults = TrackingConfig()
    mode = os.environ.get("WANDB_MODE", defaults.mode)
    parser.add_argument("runs", nargs="+", type=Path, metavar="DIR", help="runs or sweeps")
    parser.add_argument("--mode", choices=["online", "offline"], default=mode)
    parser.add_argument("--project", default=defaults.project)
    parser.add_argument("--entity", default=None)
    parser.add_argument("--tags", nargs="*", default=[])
    parser.add_argument("--completions", action="store_true", help="also the generated texts")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Log the runs named on the command line; 1 where W&B did not take all, 2 for a mistake."""
    given = _arguments(arguments)
    config = TrackingConfig(
        name="wandb",
        mode=given.mode,
        project=given.project,
        entity=given.entity,
        tags=given.tags,
        completions=given.completions,
    )
    try:
        folders = finished_runs(given.runs)
    except UserError as error:
        print(f"sparc: {error}", file=sys.stderr)
        return 2
    return 0 if all([track(folder, config) for folder in folders]) else 1


if __name__ == "__main__":
    sys.exit(main())
