"""Impossible values and combinations within one group of a configuration."""

import re
from collections.abc import Iterator
from pathlib import Path

from sparc.checks.pruning import read_json
from sparc.config import Config


def run_complaints(config: Config) -> Iterator[str]:
    if config.stage != "report":
        return
    if config.run is None:
        yield "stage=report needs a finished run: add run=outputs/runs/..."
    elif "verdict" not in (read_json(Path(config.run) / "results.json") or {}):
        yield f"run={config.run}: holds no finished results.json; give a finished run's directory"


def model_complaints(config: Config) -> Iterator[str]:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", config.device):
        yield f"device={config.device}: must be auto, cpu, mps, cuda or cuda:N"
    threads = config.model.threads
    if threads is not None and threads < 1:
        yield f"model.threads={threads}: must be 1 or more, or null for torch's own choice"


def dataset_complaints(config: Config) -> Iterator[str]:
    dataset = config.dataset
    for key in ("undesired_category", "neutral_category"):
        category = getattr(dataset, key)
        if category is not None and category not in dataset.categories:
            yield (
                f"dataset.{key}={category}: must be one of dataset.categories={dataset.categories}"
            )
    if not 0 < dataset.uniqueness < 1:
        yield f"dataset.uniqueness={dataset.uniqueness}: must lie between 0 and 1"


def evaluation_complaints(config: Config) -> Iterator[str]:
    evaluation = config.evaluation
    if evaluation.split == "attribution" and not evaluation.in_sample:
        yield (
            "evaluation.split=attribution: these prompts are attributed; add "
            "evaluation.in_sample=true, which marks every number as in-sample"
        )
    documents = evaluation.perplexity.documents
    if documents is not None and documents < 1:
        yield f"evaluation.perplexity.documents={documents}: must be 1 or more, or null for all"
    if len(set(evaluation.scorers)) < len(evaluation.scorers):
        yield f"evaluation.scorers={evaluation.scorers}: names a scorer twice"
    if "classifier" in evaluation.scorers and evaluation.classifier.path is None:
        yield "evaluation.classifier.path is not set: name a sequence classifier (hub id or folder)"
    tasks = evaluation.lm_eval
    if tasks.include_path is not None and not Path(tasks.include_path).is_dir():
        yield f"evaluation.lm_eval.include_path={tasks.include_path}: no such folder"


def tracking_complaints(config: Config) -> Iterator[str]:
    tracking = config.tracking
    if not 0 < tracking.init_timeout <= 20:
        yield f"tracking.init_timeout={tracking.init_timeout:g}: must be above 0 and at most 20"
    if not tracking.finish_timeout > 0:
        yield f"tracking.finish_timeout={tracking.finish_timeout:g}: must be above 0"
