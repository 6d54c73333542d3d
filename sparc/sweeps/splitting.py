"""The jobs that a sweep's command line stands for."""

import argparse
import math
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep

from sparc.composing.compose import search_path
from sparc.errors import UserError

_MOST = 10_000  # jobs


def split(arguments: argparse.Namespace) -> list[list[str]]:
    """The overrides of each job: one job, or the product of a sweep's values.

    `arguments` is the command line as `parse` gives it. Raises UserError where there is no job at
    all, and where there are too many.
    """
    if not arguments.multirun:
        return [list(arguments.overrides)]
    # the loader tells which options `group=glob(*)` stands for
    parser = OverridesParser.create(config_loader=ConfigLoaderImpl(search_path(arguments)))
    overrides = parser.parse_overrides(list(arguments.overrides))
    swept = " ".join(str(each.input_line) for each in overrides if each.is_sweep_override())
    try:
        count = _count(overrides)
    except ValueError as error:  # a step of 0, say
        raise UserError(f"{swept}: no values to sweep over ({error})") from error
    if count == 0:
        raise UserError(f"{swept}: no value at all, so there is no job to run")
    if count > _MOST:
        raise UserError(f"{swept}: more than {_MOST} jobs; split the sweep")
    return [list(job) for job in BasicSweeper.split_arguments(overrides, None)[0]]


def _count(overrides: Sequence[Override]) -> int:
    """How many jobs there are; of the values of one override at most _MOST + 1 are looked at."""
    discrete = (each for each in overrides if each.is_discrete_sweep())
    return math.prod(sum(1 for _ in islice(_values(each), _MOST + 1)) for each in discrete)


def _values(override: Override) -> Iterable[Any]:
    values = override.value()
    return values.range() if isinstance(values, RangeSweep) else override.sweep_iterator()
