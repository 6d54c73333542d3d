"""Disk space: what a run will write, against what is free where it writes."""

import os
import shutil
from pathlib import Path

from huggingface_hub import constants

from sparc.config import Config
from sparc.models.model import Model
from sparc.preflight.cost import Amounts, weight_bytes
from sparc.preflight.rows import Row, size
from sparc.preflight.weights import Found
from sparc.storage.disk import quota_left

_SCORE_BYTES, _COPIES = 4, 3  # float32; the entry, the part it grew from, and the run's contrast
_COMPLETION_BYTES, _TOKEN_BYTES, _RESERVE = 400, 12, 20e6  # as text; the report, logs and the like


def disk_row(config: Config, found: Found, model: Model, needed: Amounts) -> Row:
    """Whether everything fits: what is downloaded, the cache's entries and the outputs.

    Room is what is free, or left of the user's quota where one can be asked for. Folders of one
    file system are counted together. A data set of the hub is counted by what is
    kept of it, for it is streamed.
    """
    wanted = _wanted(config, found, model, needed)
    by_disk: dict[int, list[Path]] = {}
    for folder in wanted:
        by_disk.setdefault(_there(folder).stat().st_dev, []).append(folder)
    lines = []
    for folders in by_disk.values():
        total, place = sum(wanted[each] for each in folders), _there(folders[0])
        free, quota = shutil.disk_usage(place).free, quota_left(place)
        told = "free" if quota is None else "left of your quota"
        free = free if quota is None else min(free, quota)
        lines.append(f"{size(total)} needed, {size(free)} {told} in {folders[0]}")
        if total > free:
            return Row("disk", False, lines[-1], _advice(folders, total - free))
    for folder in wanted:
        if not os.access(_there(folder), os.W_OK):
            return Row("disk", False, f"{folder}", f"{folder} is not writable: choose another")
    return Row("disk", True, "; ".join(lines))


def _wanted(config: Config, found: Found, model: Model, needed: Amounts) -> dict[Path, float]:
    """folder -> bytes that will be written there."""
    grid = len(model.blocks) * model.neurons_per_layer * _SCORE_BYTES * _COPIES
    sets = 2 * len(config.dataset.reference_seeds)
    references = _TOKEN_BYTES * sum(needed.references)
    evaluation = config.evaluation
    arms = 1 + (1 + evaluation.random_draws) * (1 + len(config.pruning.curve))
    said = arms * len(needed.prompts) * evaluation.sampling.samples * _COMPLETION_BYTES
    saved = weight_bytes(model) if config.pruning.save_model else 0
    outputs = Path(config.paths.outputs)
    cache = Path(config.paths.cache)
    wanted: dict[Path, float] = {outputs: said + references + saved + _RESERVE}
    wanted[cache] = wanted.get(cache, 0) + grid * sets + references + said
    hub = Path(constants.HF_HUB_CACHE)
    if found.download:
        wanted[hub] = wanted.get(hub, 0) + found.download
    return wanted


def _there(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    folder = folder.expanduser().absolute()
    return next(each for each in (folder, *folder.parents) if each.exists())


def _advice(folders: list[Path], missing: float) -> str:
    ways = {"paths.outputs, paths.cache": "runs and scores"}
    if Path(constants.HF_HUB_CACHE) in folders:
        ways = {**ways, "HF_HOME": "downloads"}
    elsewhere = ", ".join(f"{key} ({what})" for key, what in ways.items())
    return f"{size(missing)} too little: make room, or choose folders elsewhere: {elsewhere}"
