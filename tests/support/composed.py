"""Composed configurations and whole pipelines in this process."""

from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from sparc.app import typed
from sparc.config import Config, register_schema
from sparc.config.locations import config_folder
from sparc.experiment.pipeline import run
from sparc.runs.provenance import Stages

SMALL = (
    "experiment=quick",
    "evaluation.prompts=10",
    "evaluation.perplexity.documents=15",
    "evaluation.resamples=300",
    "evaluation.random_draws=1",
    "dataset.general.samples=32",
    "dataset.undesired.samples=32",
)


def composed(*overrides: str) -> Config:
    """The checked configuration of a command line."""
    register_schema()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return typed(compose("config", list(overrides)))


def pipeline(folder: Path, *overrides: str, cache: Path | None = None) -> dict[str, Any]:
    """Results of a small run on the embedded model, with its stages; artifacts in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    stages = Stages()
    config = composed(*SMALL, f"paths.cache={cache or folder / 'cache'}", *overrides)
    return {**run(config, folder, stages), "stages": {s["name"]: s for s in stages.done}}
