"""`python -m sparc.track DIR ...`: log finished runs to W&B after the fact."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sparc.config import TrackingConfig
from sparc.config.complaints import tell
from sparc.errors import UserError
from sparc.runs import Run
from sparc.tracking import Tracker

_MODES = ("online", "offline")
_EXIT_CODES = {"ok": 0, "failed": 1, "interrupted": 130}


def _finished_runs(folders: Sequence[Path]) -> list[Path]:
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


def exit_code(folder: Path) -> int:
    """What the job in `folder` ended with. Raises UserError where its files do not tell."""
    run = Run(folder)
    results = run.needs("run.name", "run.seconds", "run.config_hash", "stages")
    if "verdict" in results:
        results = run.reported
    _ = run.config, run.hydra, run.neurons, run.completions, run.explanations  # all that is sent
    return _EXIT_CODES[results["status"]]


def track(folder: Path, code: int, config: TrackingConfig) -> bool:
    """Log the run in `folder`, which ended with `code`, as its job would have.

    Returns whether W&B took all of it.
    """
    tracker = Tracker(config, folder)
    tracker.start()
    tracker.finish(code)
    return tracker.complaints == 0


def _usual_mode() -> str:
    """W&B's own variable, else online. Raises UserError where it asks for something else."""
    mode = os.environ.get("WANDB_MODE", TrackingConfig().mode)
    if mode not in _MODES:
        raise UserError(
            f"WANDB_MODE={mode}: nothing would be logged; give --mode online or --mode offline"
        )
    return mode


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sparc.track", description=__doc__)
    defaults = TrackingConfig()
    parser.add_argument("runs", nargs="+", type=Path, metavar="DIR", help="runs or sweeps")
    parser.add_argument("--mode", choices=_MODES)
    parser.add_argument("--project", default=defaults.project)
    parser.add_argument("--entity", default=None)
    parser.add_argument("--tags", nargs="*", default=[])
    parser.add_argument("--completions", action="store_true", help="also the generated texts")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Log the runs named on the command line; 1 where not all of them were, 2 for a mistake."""
    given = vars(_arguments(arguments))
    folders = given.pop("runs")
    try:
        given["mode"] = given["mode"] or _usual_mode()
        runs = _finished_runs(folders)
    except UserError as error:
        return tell(str(error))
    codes = {}
    for folder in runs:
        try:
            codes[folder] = exit_code(folder)
        except UserError as error:  # what does not tell how it ended is named and left out
            tell(str(error))
    config = TrackingConfig(name="wandb", **given)
    sent = [track(folder, code, config) for folder, code in codes.items()]
    return 0 if all(sent) and len(sent) == len(runs) else 1


if __name__ == "__main__":
    sys.exit(main())
