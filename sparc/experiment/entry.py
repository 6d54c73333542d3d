"""What Hydra calls for each job, here or on another machine; without torch until it is set up."""

import logging
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sparc.composing.compose import typed
from sparc.models.process import set_up
from sparc.runs import Run
from sparc.runs.head import unstarted
from sparc.sweeps.identity import own_folder

# At import: a job on another machine imports this module before it names its folder.
OmegaConf.register_new_resolver("job_folder", own_folder, replace=True)
_log = logging.getLogger(__name__)


def run_job(composed: DictConfig) -> None:
    """Run a job in the folder that Hydra made for it; ends the process where a single one fails."""
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
        Run(folder).write(results=unstarted(composed, error))
        return
    if code and not in_sweep:
        sys.exit(code)
