"""Impossible values and combinations within one group of a configuration, and missing files."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from sparc.config import AHEAD, GENERAL, UNDESIRED, Config, SourceConfig, settings_of, text_sources
from sparc.config.locations import EMBEDDED, looks_local
from sparc.runs import Run

_LONGEST_NAME = 200  # bytes; a folder's name has 255, and a time comes before this one
_DETOXIFY = ("original", "unbiased", "multilingual", "original-small", "unbiased-small")
_DEVICE = r"auto|cpu|mps|cuda(:\d{1,4})?"
_PLACEMENT = r"auto|balanced|balanced_low_0|sequential|cpu|mps|cuda(:\d+)?"


def run_complaints(config: Config) -> Iterator[str]:
    if "/" in config.name or len(config.name.encode()) > _LONGEST_NAME:
        yield (
            f"name={config.name[:_LONGEST_NAME]}: is part of a folder's name; leave out '/', and "
            f"write at most {_LONGEST_NAME} bytes"
        )
    if config.stage == "evaluate" and config.pruning.method != "from_file":
        yield "stage=evaluate is said on the command line, with run=outputs/runs/..."
    if config.stage == "report" and config.run is None:
        yield "stage=report needs a finished run: add run=outputs/runs/..."
    elif config.stage == "report":
        _ = Run(Path(config.run or "")).reported  # its complaints are its own


def model_complaints(config: Config) -> Iterator[str]:
    model, scorer_device = config.model, config.evaluation.scorer_device
    for key, device in (("device", config.device), ("evaluation.scorer_device", scorer_device)):
        if not re.fullmatch(_DEVICE, device):
            yield f"{key}={device}: must be auto, cpu, mps, cuda or cuda:N"
    if model.trust_remote_code:
        yield "model.trust_remote_code=true: no code of a repository is run; leave it out"
    if model.device_map is not None and not re.fullmatch(_PLACEMENT, model.device_map):
        yield (
            f"model.device_map={model.device_map}: must be auto, balanced, balanced_low_0, "
            "sequential, a device or null"
        )
    for name, size in vars(model.max_memory).items():
        if size is not None and model.device_map is None:
            yield f"model.max_memory.{name} limits model.device_map: add model.device_map=auto"
        if size is not None and not re.fullmatch(r"\d+[KMG]i?B", size):
            yield f"model.max_memory.{name}={size}: write a size such as 30GiB"


def evaluation_complaints(config: Config) -> Iterator[str]:
    evaluation, windows = config.evaluation, config.evaluation.perplexity
    sampling, tasks = evaluation.sampling, evaluation.lm_eval
    if not evaluation.scorers:
        yield "evaluation.scorers=[]: name at least one; the first is the primary scorer"
    if sampling.temperature == 0 and sampling.samples > 1:
        yield (
            f"evaluation.sampling.samples={sampling.samples} with temperature=0: greedy decoding "
            "gives one completion; set evaluation.sampling.samples=1"
        )
    if evaluation.split == "attribution" and not evaluation.in_sample:
        yield (
            "evaluation.split=attribution: these prompts are attributed; add "
            "evaluation.in_sample=true, which marks every number as in-sample"
        )
    length = windows.max_length
    if length is not None and windows.convention == "stride" and windows.stride >= length:
        yield (
            f"evaluation.perplexity.stride={windows.stride}: must be below "
            f"evaluation.perplexity.max_length={length}"
        )
    if "classifier" in evaluation.scorers and evaluation.classifier.path is None:
        yield "evaluation.classifier.path is not set: name a sequence classifier (hub id or folder)"
    if tasks.include_path is not None and not os.path.isdir(tasks.include_path):
        yield f"evaluation.lm_eval.include_path={tasks.include_path}: no such folder"


def tracking_complaints(config: Config) -> Iterator[str]:
    tracking = config.tracking
    if not 0 < tracking.init_timeout <= 300:
        yield f"tracking.init_timeout={tracking.init_timeout:g}: must be above 0 and at most 300"
    if not tracking.finish_timeout > 0:
        yield f"tracking.finish_timeout={tracking.finish_timeout:g}: must be above 0"


def file_complaints(config: Config) -> Iterator[str]:
    """Files that are not there; told before torch is imported."""
    if config.stage in (*AHEAD, "report"):  # their tables say it; a report reads none of them
        return
    for key, source in _sources(config):
        if source.path is not None and source.path != EMBEDDED and looks_local(source.path):
            yield from _missing(f"{key}.path", source.path)
    evaluation, scorers = config.evaluation, config.evaluation.scorers
    classifier, detoxify = evaluation.classifier.path, evaluation.detoxify.source
    if "lexicon" in scorers and evaluation.lexicon.path is not None:
        yield from _missing("evaluation.lexicon.path", evaluation.lexicon.path, folder=False)
    if "classifier" in scorers and classifier is not None and looks_local(classifier):
        yield from _missing("evaluation.classifier.path", classifier)
    if "detoxify" in scorers and detoxify not in (EMBEDDED, *_DETOXIFY):
        yield from _missing("evaluation.detoxify.source", detoxify)


def _sources(config: Config) -> Iterator[tuple[str, SourceConfig]]:
    dataset = config.dataset
    yield "dataset.prompts", dataset.prompts
    for name in (GENERAL, UNDESIRED):
        if settings_of(dataset, name).from_run is None:
            yield f"dataset.{name}", settings_of(dataset, name)
    for key, source in text_sources(dataset.texts):
        yield f"dataset.texts.{key}", source


def _missing(key: str, path: str, *, folder: bool = True) -> Iterator[str]:
    place = os.path.expanduser(path)
    if os.path.isfile(place) or (folder and os.path.isdir(place)):
        return
    if os.path.isdir(place):
        yield f"{key}={path}: is a folder; give a file"
    elif os.path.exists(place):
        yield f"{key}={path}: is no regular file"
    else:
        yield f"{key}={path}: no such file"
