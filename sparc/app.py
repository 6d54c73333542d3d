"""The single entrypoint: checks the command line, then lets Hydra run one job or a sweep.

Configuration mistakes are told in one line with exit code 2 before torch is imported.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import hydra
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sparc.artifacts import write_text
from sparc.checks import check
from sparc.complaints import one_line
from sparc.config import Config, content, register_schema
from sparc.digests import digest
from sparc.errors import UserError
from sparc.locations import config_folder
from sparc.sweeps.jobs import changes_content, write_expected
from sparc.sweeps.naming import job_folder

# At import: a job on another machine imports this module before it names its folder.
OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
_CHECKED_JOBS = 64  # of a sweep before it starts; every job checks itself again when it runs


def typed(composed: DictConfig) -> Config:
    """The composed configuration as dataclasses, checked.

    Raises UserError or an exception of OmegaConf for what cannot be.
    """
    plain = OmegaConf.to_container(composed, resolve=True)
    # Merging again refuses keys that were forced in with a plus sign.
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), plain))
    assert isinstance(config, Config)
    check(config)
    return config


def _jobs(arguments: argparse.Namespace) -> list[list[str]]:
    """The overrides of each job: one job, or the product of a sweep's values."""
    if not arguments.multirun:
        return [list(arguments.overrides)]
    overrides = OverridesParser.create().parse_overrides(list(arguments.overrides))
    return [list(job) for job in BasicSweeper.split_arguments(overrides, None)[0]]


def _compose(overrides: Sequence[str], arguments: argparse.Namespace) -> Config:
    extra = [f"hydra.searchpath=[file://{arguments.config_dir}]"] if arguments.config_dir else []
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return typed(compose(arguments.config_name or "config", [*overrides, *extra]))


def _sweep_folder(first: Config, jobs: Sequence[Sequence[str]]) -> str:
    """The same sweep finds the same folder again, wherever and on whatever it runs."""
    swept = sorted(sorted(filter(changes_content, job)) for job in jobs)
    key = digest({"first": content(first), "jobs": swept})[:10]
    return f"{first.paths.outputs}/sweeps/{first.name}-{key}"


def _chosen_folder(overrides: Sequence[str]) -> str | None:
    """The folder that the command line itself names for a sweep; None where it names none."""
    if not any(override.startswith("hydra.sweep.dir=") for override in overrides):
        return None
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = compose("config", list(overrides), return_hydra_config=True)
        return str(composed.hydra.sweep.dir)


def _prepare(arguments: argparse.Namespace) -> tuple[Config, Path | None]:
    """Check every job's configuration; the first one, and the folder of a sweep if it is one.

    What a sweep is about to run is kept in its folder, so that a job that never starts is missed.
    """
    jobs = _jobs(arguments)
    configs = [_compose(job, arguments) for job in islice(jobs, _CHECKED_JOBS)]
    if not arguments.multirun or arguments.cfg or arguments.info:
        return configs[0], None
    folder = Path(_chosen_folder(jobs[0]) or _sweep_folder(configs[0], jobs))
    write_expected(folder, jobs, configs, arguments.overrides)
    return configs[0], folder


def _job(composed: DictConfig) -> None:
    # OpenMP's threads spin while they wait, which makes two of them on a busy core several times
    # slower than one. Read once, when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from sparc.job import execute

    settings = HydraConfig.get()
    code = execute(typed(composed), Path(settings.runtime.output_dir))
    if code and settings.mode == RunMode.RUN:
        sys.exit(code)


def _launch() -> int:
    """Let Hydra run the job or the sweep that the command line describes; the exit code."""
    start = hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")
    try:
        start(_job)()
    except KeyboardInterrupt:
        return 130
    except SystemExit as stop:  # a failed job, or Hydra after an exception that it has shown
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def _conclude(folder: Path, code: int) -> int:
    """Summarise a sweep that ended with `code`; after Ctrl-C only say how to do so."""
    if code == 130:
        print(f"sparc: interrupted; jobs so far: python -m sparc.sweep {folder}", file=sys.stderr)
        return code
    from sparc.sweep import conclude

    return conclude(folder) or code


def _render_again(folder: Path) -> None:
    """Write a finished run's report anew from its artifacts; loads no model."""
    from sparc.report import render

    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    write_text(folder / "report.html", render(results, folder))
    print(f"Report: {folder / 'report.html'}")


def main() -> None:
    """Run `sparc` with the command line's overrides."""
    register_schema()
    arguments = get_args_parser().parse_args()
    sweep = None
    informs = arguments.help or arguments.hydra_help or arguments.shell_completion
    try:
        if not informs:
            config, sweep = _prepare(arguments)
            if config.stage == "report" and sweep:
                raise UserError("stage=report renders one run: leave -m out")
            if config.stage == "report":
                return _render_again(Path(config.run or ""))
    except UserError as error:
        sys.exit(_complain(str(error)))
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(_complain(one_line(error)))
    except KeyboardInterrupt:
        sys.exit(130)
    if sweep:
        quoted = str(sweep).replace("'", r"\'")
        sys.argv.append(f"hydra.sweep.dir='{quoted}'")
    code = _launch()
    sys.exit(_conclude(sweep, code) if sweep else code)


def _complain(message: str) -> int:
    from sparc.report.plain import visible

    print(f"sparc: {visible(message)}", file=sys.stderr)
    return 2
