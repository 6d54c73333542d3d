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
from sparc.preflight.cost import amounts
from sparc.preflight.data import check_data
from sparc.preflight.disk import disk_row
from sparc.preflight.questions import Questions
from sparc.preflight.resources import Bill, memory_row, time_row
from sparc.preflight.rows import Row, failures
from sparc.preflight.scorers import check_scorers
from sparc.preflight.services import is_slurm, partition_row, tracking_row
from sparc.preflight.skeleton import skeleton
from sparc.preflight.tasks import check_tasks
from sparc.preflight.weights import Found, find_model, model_row, tokenizer_of
from sparc.sources.hub import quiet
from sparc.tasks.dataset import Dataset


def check(config: Config, launcher: Mapping[str, Any], questions: Questions) -> list[Row]:
    """One row for each thing that a run of `config` needs; no weights are downloaded or loaded.

    launcher: Hydra's configuration of how jobs are launched. questions: what the hub was asked.
    """
    rows: list[Row] = []
    found = None
    with quiet():
        with failures(rows, "model", config.model.path):
            found = find_model(config.model, questions.model.result())
            rows.append(model_row(found, config.model))

        @functools.cache
        def tokenizer() -> Any:
            return tokenizer_of(config.model) if found and not found.download else None

        data, dataset = check_data(config, questions, tokenizer)
        rows += data
        with failures(rows, "tokenizer", config.model.path):
            _check_tokenizer(config, found, tokenizer(), dataset)
        answer = questions.classifier
        rows += check_scorers(config, dataset, answer.result if answer else lambda: True)
        rows += check_tasks(config.evaluation.lm_eval)
    rows += _resources(config, found, dataset, launcher)
    others = (partition_row(launcher), tracking_row(config.tracking))
    return rows + [row for row in others if row is not None]


def _check_tokenizer(
    config: Config, found: Found | None, tokenizer: Any, dataset: Dataset | None
) -> None:
    """Raise UserError where the tokenizer, if it is here, loses text or does not fit the model."""
    if found is not None and tokenizer is not None:
        where = f"model.path={config.model.path}"
        fit_vocabulary(tokenizer, found.architecture.vocab_size, where)
        refuse_lost(chain(*dataset.prompts.values()) if dataset else (), tokenizer, where)


def _resources(
    config: Config, found: Found | None, dataset: Dataset | None, launcher: Mapping[str, Any]
) -> list[Row]:
    """Disk, memory and time; not judged without the model's configuration."""
    if found is None:
        unknown = "not judged without the model's config.json"
        return [Row(name, None, unknown) for name in ("disk", "memory", "time")]
    rows: list[Row] = []
    with failures(rows, "device", config.device):
        model = skeleton(found, config.model)
        needed = amounts(config, dataset, model.max_length)
        rows.append(disk_row(config, found, model, needed))
        granted = launcher if is_slurm(launcher) else {}
        bill = Bill.of(model, needed, config)
        if granted.get("gpus_per_node") and config.device != "cpu":  # those of another machine
            return [*rows, *bill.elsewhere(config, granted.get("mem_gb"))]
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
