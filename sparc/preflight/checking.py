"""`stage=check`: everything that could stop a run after hours, looked at in seconds."""

import functools
from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch

from sparc.config import Config
from sparc.errors import UserError
from sparc.models.loading import fit_vocabulary
from sparc.models.model import choose_device
from sparc.models.tokenizing import refuse_lost
from sparc.preflight.amounts import amounts
from sparc.preflight.bill import Bill
from sparc.preflight.data import check_data
from sparc.preflight.findings import Row, failures
from sparc.preflight.fitting import disk_row, elsewhere_rows, memory_row, time_row
from sparc.preflight.measuring import scorer_rows, task_rows
from sparc.preflight.needs import Answers
from sparc.preflight.services import is_slurm, partition_row, tracking_row
from sparc.preflight.weights import Found, find_model, model_row, tokenizer_of
from sparc.sources.hub import quiet
from sparc.tasks.dataset import Dataset


def check(config: Config, launcher: Mapping[str, Any], answers: Answers) -> list[Row]:
    """One row for each thing that a run of `config` needs; no weights are downloaded or loaded.

    Args:
        config: The run's.
        launcher: Hydra's configuration of how jobs are launched.
        answers: What the hub says of the models and data sets.
    """
    rows: list[Row] = []
    found = None
    is_here = {need.key: answer for need, answer in answers.items() if need.source is None}
    with quiet():
        with failures(rows, "model", config.model.path):
            found = find_model(config.model, is_here["model.path"].result() is None)
            rows.append(model_row(found, config.model))

        @functools.cache
        def tokenizer() -> Any:
            return tokenizer_of(config.model) if found and not found.download else None

        data, dataset = check_data(config, answers, tokenizer)
        rows += data
        with failures(rows, "tokenizer", config.model.path):
            if found is not None and tokenizer() is not None:
                where = f"model.path={config.model.path}"
                fit_vocabulary(tokenizer(), found.architecture.vocab_size, where)
                prompts = dataset.prompts.values() if dataset else ()
                refuse_lost(chain(*prompts), tokenizer(), where)
        classifier = is_here.get("evaluation.classifier.path")
        rows += scorer_rows(config, dataset, lambda: not classifier or classifier.result() is None)
        rows += task_rows(config.evaluation.lm_eval)
    rows += _resources(config, found, dataset, launcher)
    others = (partition_row(launcher), tracking_row(config.tracking))
    return rows + [row for row in others if row is not None]


def _resources(
    config: Config, found: Found | None, dataset: Dataset | None, launcher: Mapping[str, Any]
) -> list[Row]:
    """Disk, memory and time; not judged without the model's configuration."""
    if found is None:
        unknown = "not judged without the model's config.json"
        return [Row(name, None, unknown) for name in ("disk", "memory", "time")]
    rows: list[Row] = []
    with failures(rows, "device", config.device):
        model = found.skeleton(config.model)
        needed = amounts(config, dataset, model.max_length)
        bill = Bill.of(model, needed, config)
        rows.append(disk_row(config, bill, needed, found.download))
        granted = launcher if is_slurm(launcher) else {}
        if granted.get("gpus_per_node") and config.device != "cpu":  # those of another machine
            return [*rows, *elsewhere_rows(bill, config, granted.get("mem_gb"))]
        device = torch.device("cpu") if granted else choose_device(config.device)
        if granted and config.device.startswith("cuda"):
            raise UserError(
                f"device={config.device}: jobs get no GPU with hydra.launcher.gpus_per_node=null"
            )
        if config.model.threads is not None:
            torch.set_num_threads(config.model.threads)
        rows.append(memory_row(bill, config, device, granted.get("mem_gb")))
        rows.append(time_row(bill, device, granted.get("timeout_min")))
    return rows
