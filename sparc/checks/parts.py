"""Impossible values and combinations within one group of a configuration."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from sparc.config import Config
from sparc.runs import Run

_LONGEST_NAME = 200  # bytes; a folder's name has 255, and a time comes before this one


def run_complaints(config: Config) -> Iterator[str]:
    if "/" in config.name or len(config.name.encode()) > _LONGEST_NAME:
        yield (
            f"name={config.name[:_LONGEST_NAME]}: is part of a folder's name; leave out '/', and "
            f"write at most {_LONGEST_NAME} bytes"
        )
    if config.stage == "evaluate" and config.pruning.method != "from_file":
        yield "stage=evaluate is said on the command line, with run=outputs/runs/..."
    if config.stage != "report":
        return
    if config.run is None:
        yield "stage=report needs a finished run: add run=outputs/runs/..."
    else:
        _ = Run(Path(config.run)).reported  # its complaints are its own


def model_complaints(config: Config) -> Iterator[str]:
    for key, device in (
        ("device", config.device),
        ("evaluation.scorer_device", config.evaluation.scorer_device),
    ):
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,4})?", device):
            yield f"{key}={device}: must be auto, cpu, mps, cuda or cuda:N"
    model = config.model
    if model.trust_remote_code:
        yield "model.trust_remote_code=true: no code of a repository is run; leave it out"
    placement = r"auto|balanced|balanced_low_0|sequential|cpu|mps|cuda(:\d+)?"
    if model.device_map is not None and not re.fullmatch(placement, model.device_map):
        yield (
            f"model.device_map={model.device_map}: must be auto, balanced, balanced_low_0, "
            "sequential, a device or null"
        )
    for name, size in (("gpu", model.max_memory.gpu), ("cpu", model.max_memory.cpu)):
        if size is not None and model.device_map is None:
            yield f"model.max_memory.{name} limits model.device_map: add model.device_map=auto"
        if size is not None and not re.fullmatch(r"\d+[KMG]i?B", size):
            yield f"model.max_memory.{name}={size}: write a size such as 30GiB"


def evaluation_complaints(config: Config) -> Iterator[str]:
    evaluation = config.evaluation
    if evaluation.split == "attribution" and not evaluation.in_sample:
        yield (
            "evaluation.split=attribution: these prompts are attributed; add "
            "evaluation.in_sample=true, which marks every number as in-sample"
        )
    windows = evaluation.perplexity
    length = windows.max_length
    if length is not None and length < 2:
        yield f"evaluation.perplexity.max_length={length}: must be 2 or more, or null"
    if length is not None and windows.convention == "stride" and windows.stride >= length:
        yield (
            f"evaluation.perplexity.stride={windows.stride}: must be below "
            f"evaluation.perplexity.max_length={length}"
        )
    if "classifier" in evaluation.scorers and evaluation.classifier.path is None:
        yield "evaluation.classifier.path is not set: name a sequence classifier (hub id or folder)"
    tasks = evaluation.lm_eval
    if tasks.include_path is not None and not os.path.isdir(tasks.include_path):
        yield f"evaluation.lm_eval.include_path={tasks.include_path}: no such folder"


def tracking_complaints(config: Config) -> Iterator[str]:
    tracking = config.tracking
    if not 0 < tracking.init_timeout <= 300:
        yield f"tracking.init_timeout={tracking.init_timeout:g}: must be above 0 and at most 300"
    if not tracking.finish_timeout > 0:
        yield f"tracking.finish_timeout={tracking.finish_timeout:g}: must be above 0"
