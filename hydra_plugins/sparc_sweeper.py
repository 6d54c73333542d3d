"""Hydra's basic sweeper, but what is done already is not done again.

It lies in this folder because Hydra takes plugins from the namespace `hydra_plugins` only. Hydra
imports it for every application of the environment, so that it must be quick to import.
"""

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser


class ResumingSweeper(BasicSweeper):
    """Runs the jobs of a sweep that are missing or failed, each in the folder it always has."""

    def __init__(self, parallel: int) -> None:
        super().__init__(max_batch_size=None)
        self.parallel = parallel
        """Processes at a time with hydra/launcher=local; Slurm has array_parallelism."""

    def sweep(self, arguments: list[str]) -> Sequence[Any]:
        """Run the product of the values in `arguments`, less what is done already."""
        from sparc.sweeps.launching import launch

        assert self.hydra_context and self.config  # Hydra has called `setup`
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        (jobs,) = self.split_arguments(parser.parse_overrides(arguments), None)
        self.validate_batch_is_legal(jobs)
        launch(self.launcher, jobs, self.config, self.parallel)
        return []
