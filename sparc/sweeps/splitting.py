"""The jobs that a sweep's command line stands for."""

import argparse
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import create_config_search_path
from hydra.core.override_parser.overrides_parser import OverridesParser

from sparc.errors import UserError
from sparc.locations import config_folder


def split(arguments: argparse.Namespace) -> list[list[str]]:
    """The overrides of each job: one job, or the product of a sweep's values.

    arguments: the command line as Hydra parses it. Raises UserError where there is no job at all.
    """
    if not arguments.multirun:
        return [list(arguments.overrides)]
    places = create_config_search_path(str(config_folder()))
    if arguments.config_dir:
        places.append("command-line", f"file://{Path(arguments.config_dir).absolute()}")
    # the loader tells which options `group=glob(*)` stands for
    parser = OverridesParser.create(config_loader=ConfigLoaderImpl(places))
    overrides = parser.parse_overrides(list(arguments.overrides))
    jobs = [list(job) for job in BasicSweeper.split_arguments(overrides, None)[0]]
    if not jobs:
        swept = " ".join(str(each.input_line) for each in overrides if each.is_sweep_override())
        raise UserError(f"{swept}: no value at all, so there is no job to run")
    return jobs
