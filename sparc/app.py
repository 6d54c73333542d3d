"""The single entrypoint: from the command line to one job or a sweep, which Hydra runs.

Configuration mistakes are told in one line with exit code 2 before torch is imported.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sparc.composing.arguments import parse, parser, quoted
from sparc.composing.compose import composed, engine, typed
from sparc.config import AHEAD, Config, register_schema
from sparc.config.complaints import ending
from sparc.errors import UserError
from sparc.experiment.entry import run_job
from sparc.experiment.reevaluate import with_saved_run
from sparc.runs import Run
from sparc.storage.artifacts import write_text
from sparc.storage.disk import refuse_full, refuse_unwritable, refuse_useless, writing
from sparc.sweeps.identity import sweep_folder
from sparc.sweeps.jobs import write_expected
from sparc.sweeps.slurm import request_complaint
from sparc.sweeps.splitting import split

_CHECKED_JOBS = 64  # of a sweep before it starts; every job checks itself again when it runs
_FETCHED_JOBS = 1000  # of a sweep with stage=prefetch, which looks at all of them


def _run(argv: Sequence[str]) -> int:
    """Do what the command line asks for; the exit code."""
    arguments = parse(argv)
    if arguments.help or arguments.shell_completion:
        return _inform(arguments)
    saved = with_saved_run(arguments.overrides, lambda each: composed(each, arguments))
    arguments.overrides = [*saved, *arguments.overrides]
    launcher, jobs = _asked_launcher(arguments.overrides), split(arguments)
    configs, hydra = _checked(jobs, arguments)
    first = configs[0]
    if arguments.cfg:
        return _inform(arguments)
    if launcher and not arguments.multirun and first.stage not in AHEAD:
        raise UserError(f"{launcher}: runs the jobs of a sweep; add -m")
    if arguments.info:
        return _inform(arguments)
    if first.stage == "report":
        return _render_again(Path(first.run or ""))
    if first.stage in AHEAD:
        return _look_ahead(configs, hydra)
    if "slurm" not in launcher:  # the cache may be a disk of the nodes alone
        refuse_useless(first.paths.cache)
    refuse_unwritable({"paths.outputs": first.paths.outputs})
    if arguments.multirun:
        return _sweep(jobs, configs, hydra, arguments)
    return _launch(arguments.overrides, arguments)


def _asked_launcher(overrides: Sequence[str]) -> str:
    """The override that chooses a launcher, empty where there is none.

    Raises UserError where its package is not installed.
    """
    asked = next((each for each in overrides if each.startswith("hydra/launcher=")), "")
    if asked.partition("=")[2].startswith(("slurm", "local", "submitit")):
        try:
            found = find_spec("hydra_plugins.hydra_submitit_launcher")
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise UserError(f"{asked}: not installed here; run: pip install 'sparc[slurm]'")
    return asked


def _checked(
    jobs: Sequence[Sequence[str]], arguments: argparse.Namespace
) -> tuple[list[Config], DictConfig]:
    """The configurations of the jobs that are looked at before any of them starts.

    Besides Hydra's own of the first job: where a sweep goes and what runs its jobs.
    """
    whole = composed(jobs[0], arguments, with_hydra=True)
    first = typed(OmegaConf.masked_copy(whole, [str(key) for key in whole if key != "hydra"]))
    most = _FETCHED_JOBS if first.stage == "prefetch" else _CHECKED_JOBS
    if first.stage == "prefetch" and len(jobs) > most:
        raise UserError(f"stage=prefetch looks at every job: at most {most}, not {len(jobs)}")
    configs = [first, *(typed(composed(job, arguments)) for job in islice(jobs, 1, most))]
    if first.stage == "report" and arguments.multirun:
        raise UserError("stage=report renders one run: leave -m out")
    if first.stage not in ("report", *AHEAD):
        refuse_full({"paths.cache": first.paths.cache, "paths.outputs": first.paths.outputs})
    return configs, whole.hydra


def _inform(arguments: argparse.Namespace) -> int:
    """Print what a flag asks for instead of running anything."""
    name, overrides = arguments.config_name, arguments.overrides
    with engine(arguments) as hydra:
        if arguments.help:
            hydra.app_help(name, parser(), arguments)
        elif arguments.shell_completion:
            hydra.shell_completion(name, overrides)
        elif arguments.cfg:
            hydra.show_cfg(name, overrides, arguments.cfg, None, arguments.resolve)
        else:
            hydra.show_info(arguments.info, name, overrides)
    return 0


def _render_again(folder: Path) -> int:
    """Write a finished run's report anew from its artifacts; loads no model."""
    from sparc.report import render

    write_text(folder / "report.html", render(Run(folder).reported, folder))
    print(f"Report: {folder / 'report.html'}")
    return 0


def _look_ahead(configs: Sequence[Config], hydra: DictConfig) -> int:
    """stage=check looks at the first job, prefetch at all, clean at none; none is run."""
    if configs[0].stage == "clean":
        from sparc.clean import clean

        return clean(configs[0])
    from sparc.preflight.stages import run_stage

    return run_stage(configs, hydra.launcher)


def _sweep(
    jobs: Sequence[Sequence[str]],
    configs: Sequence[Config],
    hydra: DictConfig,
    arguments: argparse.Namespace,
) -> int:
    """Run the jobs and summarise what they found.

    What is about to run is kept in the sweep's folder, so that a job that never starts is missed.
    """
    on_slurm = str(hydra.launcher._target_).endswith("SlurmLauncher")
    if on_slurm and (complaint := request_complaint(hydra.launcher)):
        raise UserError(complaint)
    chosen = any(override.startswith("hydra.sweep.dir=") for override in jobs[0])
    folder = Path(str(hydra.sweep.dir) if chosen else sweep_folder(configs[0], jobs))
    with writing(folder):
        write_expected(folder, jobs, configs, arguments.overrides)
    place = f"hydra.sweep.dir={quoted(str(folder))}"
    return _conclude(folder, _launch([*arguments.overrides, place], arguments))


def _conclude(folder: Path, code: int) -> int:
    """Summarise a sweep that ended with `code`; after Ctrl-C only say how to do so."""
    if code == 2:  # Slurm did not take the jobs
        return code
    if code == 130:
        print(f"sparc: interrupted; jobs so far: python -m sparc.sweep {folder}", file=sys.stderr)
        return code
    from sparc.sweep import conclude

    with writing(folder):
        return conclude(folder) or code


def _launch(overrides: Sequence[str], arguments: argparse.Namespace) -> int:
    """Let Hydra run the job or the sweep that the overrides describe; the exit code."""
    mode = RunMode.MULTIRUN if arguments.multirun else RunMode.RUN
    try:
        with engine(arguments) as hydra, writing(Path()):
            start = hydra.multirun if arguments.multirun else hydra.run
            start(arguments.config_name, run_job, [*overrides, f"hydra.mode={mode.name}"])
    except KeyboardInterrupt:
        return 130
    except SystemExit as stop:  # a failed job, or Slurm did not take the jobs
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def main() -> None:
    """Run `sparc` with the command line's overrides."""
    register_schema()
    sys.exit(ending(lambda: _run(sys.argv[1:])))
