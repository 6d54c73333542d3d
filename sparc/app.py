"""The single entrypoint: checks the command line, then lets Hydra run one job or a sweep.

Configuration mistakes are told in one line with exit code 2 before torch is imported.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sparc.composing.arguments import parse, parser, quoted
from sparc.composing.compose import composed, engine, typed
from sparc.config import AHEAD, Config, content, register_schema
from sparc.config.complaints import ending
from sparc.errors import UserError
from sparc.experiment.reevaluate import with_saved_run
from sparc.models.process import set_up
from sparc.runs import Run
from sparc.runs.head import unstarted
from sparc.storage.artifacts import write_json, write_text
from sparc.storage.digests import digest
from sparc.storage.disk import refuse_full, refuse_unwritable, refuse_useless, writing
from sparc.sweeps.jobs import changes_content, own_folder, write_expected
from sparc.sweeps.splitting import split

# At import: a job on another machine imports this module before it names its folder.
OmegaConf.register_new_resolver("job_folder", own_folder, replace=True)
_log = logging.getLogger(__name__)
_CHECKED_JOBS = 64  # of a sweep before it starts; every job checks itself again when it runs
_FETCHED_JOBS = 1000  # of a sweep with stage=prefetch, which looks at all of them


def _sweep_folder(first: Config, jobs: Sequence[Sequence[str]]) -> str:
    """The same sweep finds the same folder again, wherever and on whatever it runs."""
    swept = sorted(sorted(filter(changes_content, job)) for job in jobs)
    key = digest({"first": content(first), "jobs": swept})[:10]
    return f"{first.paths.outputs}/sweeps/{first.name}-{key}"


def _hydra(overrides: Sequence[str], arguments: argparse.Namespace) -> DictConfig:
    """Hydra's own configuration of a job: where a sweep goes and what runs its jobs."""
    hydra_part: DictConfig = composed(overrides, arguments, with_hydra=True).hydra
    return hydra_part


def _checked(jobs: Sequence[Sequence[str]], arguments: argparse.Namespace) -> list[Config]:
    """The configurations of the jobs that are looked at before any of them starts."""
    first = typed(composed(jobs[0], arguments))
    most = _FETCHED_JOBS if first.stage == "prefetch" else _CHECKED_JOBS
    if first.stage == "prefetch" and len(jobs) > most:
        raise UserError(f"stage=prefetch looks at every job: at most {most}, not {len(jobs)}")
    configs = [first, *(typed(composed(job, arguments)) for job in islice(jobs, 1, most))]
    if first.stage == "report" and arguments.multirun:
        raise UserError("stage=report renders one run: leave -m out")
    if first.stage not in ("report", *AHEAD):
        refuse_full(_paths(first, "cache", "outputs"))
    return configs


def _paths(config: Config, *keys: str) -> dict[str, str]:
    return {f"paths.{key}": getattr(config.paths, key) for key in keys}


def _prepare(arguments: argparse.Namespace) -> tuple[list[Config], Path | None]:
    """Check the jobs' configurations; them, and the folder of a sweep if it is one.

    What a sweep is about to run is kept in its folder, so that a job that never starts is missed.
    """
    _check_plugin(_asked_launcher(arguments))
    jobs = split(arguments)
    configs = _checked(jobs, arguments)
    ahead = configs[0].stage in AHEAD
    if not (arguments.multirun or arguments.cfg or ahead) and _asked_launcher(arguments):
        raise UserError(f"{_asked_launcher(arguments)}: runs the jobs of a sweep; add -m")
    if not (arguments.cfg or arguments.info or ahead or configs[0].stage == "report"):
        if "slurm" not in _asked_launcher(arguments):  # the cache may be a disk of the nodes alone
            refuse_useless(configs[0].paths.cache)
        refuse_unwritable(_paths(configs[0], "outputs"))
    if not arguments.multirun or arguments.cfg or arguments.info or ahead:
        return configs, None
    settings = _hydra(jobs[0], arguments)
    if str(settings.launcher._target_).endswith("SlurmLauncher"):
        from sparc.sweeps.slurm import request_complaint

        if complaint := request_complaint(settings.launcher):
            raise UserError(complaint)
    chosen = any(override.startswith("hydra.sweep.dir=") for override in jobs[0])
    folder = Path(str(settings.sweep.dir) if chosen else _sweep_folder(configs[0], jobs))
    with writing(folder):
        write_expected(folder, jobs, configs, arguments.overrides)
    return configs, folder


def _asked_launcher(arguments: argparse.Namespace) -> str:
    """The override that chooses a launcher, empty where there is none."""
    return next((o for o in arguments.overrides if o.startswith("hydra/launcher=")), "")


def _check_plugin(asked: str) -> None:
    """Raise UserError where a launcher is asked for whose package is not installed."""
    if asked.partition("=")[2].startswith(("slurm", "local", "submitit")):
        try:
            found = find_spec("hydra_plugins.hydra_submitit_launcher")
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise UserError(f"{asked}: not installed here; run: pip install 'sparc[slurm]'")


def _job(composed: DictConfig) -> None:
    set_up()
    settings = HydraConfig.get()
    folder = Path(settings.runtime.output_dir)
    in_sweep = settings.mode == RunMode.MULTIRUN
    try:
        from sparc.experiment.job import execute

        code = execute(typed(composed), folder, resume=in_sweep)
    except Exception as error:
        if not in_sweep:
            raise
        # Hydra keeps it from whoever reads the log; a node may lack what the submitter checked.
        _log.exception("failed before it began")
        write_json(folder / "results.json", unstarted(composed, error))
        return
    if code and not in_sweep:
        sys.exit(code)


def _launch(overrides: Sequence[str], arguments: argparse.Namespace) -> int:
    """Let Hydra run the job or the sweep that the overrides describe; the exit code."""
    mode = RunMode.MULTIRUN if arguments.multirun else RunMode.RUN
    try:
        with engine(arguments) as hydra, writing(Path()):
            start = hydra.multirun if arguments.multirun else hydra.run
            start(arguments.config_name, _job, [*overrides, f"hydra.mode={mode.name}"])
    except KeyboardInterrupt:
        return 130
    except SystemExit as stop:  # a failed job, or Slurm did not take the jobs
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


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


def _ahead(configs: Sequence[Config], arguments: argparse.Namespace) -> int:
    """stage=check looks at the first job, prefetch at all, clean at none; none is run."""
    if configs[0].stage == "clean":
        from sparc.clean import clean

        return clean(configs[0])
    from sparc.preflight.stages import run_stage

    return run_stage(configs, _hydra(split(arguments)[0], arguments).launcher)


def _restate(arguments: argparse.Namespace) -> None:
    """With stage=evaluate the saved run's overrides go before those given."""
    saved = with_saved_run(arguments.overrides, lambda each: composed(each, arguments))
    arguments.overrides = [*saved, *arguments.overrides]


def _render_again(folder: Path) -> int:
    """Write a finished run's report anew from its artifacts; loads no model."""
    from sparc.report import render

    write_text(folder / "report.html", render(Run(folder).reported, folder))
    print(f"Report: {folder / 'report.html'}")
    return 0


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


def _run(argv: Sequence[str]) -> int:
    """Do what the command line asks for; the exit code."""
    arguments = parse(argv)
    if arguments.help or arguments.shell_completion:
        return _inform(arguments)
    _restate(arguments)
    configs, sweep = _prepare(arguments)
    if arguments.cfg or arguments.info:
        return _inform(arguments)
    if configs[0].stage == "report":
        return _render_again(Path(configs[0].run or ""))
    if configs[0].stage in AHEAD:
        return _ahead(configs, arguments)
    if sweep is None:
        return _launch(arguments.overrides, arguments)
    place = f"hydra.sweep.dir={quoted(str(sweep))}"
    return _conclude(sweep, _launch([*arguments.overrides, place], arguments))


def main() -> None:
    """Run `sparc` with the command line's overrides."""
    register_schema()
    sys.exit(ending(lambda: _run(sys.argv[1:])))
