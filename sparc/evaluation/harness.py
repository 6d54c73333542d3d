"""Accuracy on tasks of lm-evaluation-harness, document by document."""

import contextlib
import functools
import importlib.metadata
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from sparc.config import LmEvalConfig
from sparc.errors import UserError
from sparc.evaluation.resampling import Array
from sparc.models.batching import BatchTokens, in_batches
from sparc.models.model import Model
from sparc.sources.hub import unasked
from sparc.storage.digests import file_digest


def accuracies(
    model: Model, config: LmEvalConfig, room: BatchTokens | None = None
) -> dict[str, Array]:
    """ "task/metric" -> a value for each document [documents], higher is better.

    Metrics without a value for each document, or for which lower is better (perplexities), are
    left out. Where memory runs out, all is asked anew in batches of half the size, which `room`
    (by default that of `config`) remembers. The hub is not asked about data that its cache holds.
    Raises UserError where the package or a task is missing, where a task has no such metric, and
    where one request does not fit in memory.
    """
    if not config.tasks:
        return {}
    tasks = known_tasks(config)
    from lm_eval import simple_evaluate

    for name in ("lm_eval", "lm-eval", "lm_eval.evaluator"):  # one line for every request
        logging.getLogger(name).setLevel(logging.ERROR)

    here = unasked if _data_is_here(tuple(config.tasks), tasks) else contextlib.nullcontext

    def asked(batch: list[int]) -> Any:
        with here():
            return simple_evaluate(
                model=language_model(model, len(batch)),
                tasks=list(config.tasks),
                num_fewshot=config.num_fewshot,
                limit=config.limit,
                task_manager=tasks,
                bootstrap_iters=0,
            )

    # the harness makes its batches itself: of the first only the size counts
    _, results = next(in_batches([1] * config.batch_size, room or asking(config), asked))
    return _by_document(results)


def asking(config: LmEvalConfig) -> BatchTokens:
    """How many requests go together, for all arms."""
    ways = "set model.dtype=bfloat16 or model.device_map=auto"
    return BatchTokens(config.batch_size, "evaluation.lm_eval.batch_size", "request", ways)


def language_model(model: Model, batch_size: int) -> Any:
    """`model` as lm-evaluation-harness asks it."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(
        pretrained=model.network,
        tokenizer=model.tokenizer,
        batch_size=batch_size,
        max_length=model.max_length,
    )


def known_tasks(config: LmEvalConfig) -> Any:
    """lm-evaluation-harness's TaskManager that knows all tasks asked for; None where none are.

    Raises UserError where the package or a task is missing.
    """
    return _indexed(tuple(config.tasks), config.include_path) if config.tasks else None


@functools.lru_cache(maxsize=1)  # a run needs it when it loads and for each model it measures
def _indexed(names: tuple[str, ...], include_path: str | None) -> Any:
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise UserError(
            "evaluation.lm_eval.tasks needs lm-evaluation-harness: pip install 'sparc[eval]'"
        ) from error
    # the thousands of bundled tasks take long to index, and local ones may not need them
    own = TaskManager(include_path=include_path, include_defaults=False)
    if include_path is not None and set(names) <= set(own.all_tasks):
        return own
    tasks = TaskManager(include_path=include_path)
    missing = sorted(set(names) - set(tasks.all_tasks))
    if missing:
        raise UserError(
            f"evaluation.lm_eval.tasks: unknown {', '.join(missing)}; set "
            "evaluation.lm_eval.include_path to the folder of your own task files"
        )
    return tasks


def fetch_tasks(config: LmEvalConfig) -> None:
    """Read the data of all tasks as `accuracies` does, so that the hub's cache holds them.

    Raises UserError where the package or a task is missing, and whatever reading raises.
    """
    tasks = known_tasks(config)
    if tasks is not None:
        from lm_eval.tasks import get_task_dict

        get_task_dict(list(config.tasks), tasks)


@functools.lru_cache(maxsize=1)  # once a run, as the harness reads the data for each model anew
def _data_is_here(names: tuple[str, ...], tasks: Any) -> bool:
    """Whether all data can be read without a question to the hub; fetches them if they are not."""
    from lm_eval.tasks import get_task_dict

    for last in (False, True):
        # what a task's library raises for data that it lacks is its own business
        with contextlib.suppress(Exception), unasked():
            get_task_dict(list(names), tasks)
            return True
        if not last:
            get_task_dict(list(names), tasks)
    return False


def harness_key(config: LmEvalConfig) -> dict[str, Any]:
    """What accuracies depend on besides the model: settings, content of local files, version."""
    files = {}
    if config.include_path is not None:
        folder = Path(config.include_path)
        found = sorted(each for each in folder.rglob("*") if each.is_file())
        files = {str(each.relative_to(folder)): file_digest(each) for each in found}
    version = importlib.metadata.version("lm_eval") if config.tasks else None
    return {**asdict(config), "include_path": files, "version": version}


def _by_document(results: Any) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for task, samples in results["samples"].items():
        better = results["higher_is_better"].get(task, {})
        for metric in sorted(name for name, higher in better.items() if higher):
            values = [sample.get(metric) for sample in samples]
            if values and all(isinstance(value, int | float | bool) for value in values):
                found[f"{task}/{metric}"] = np.asarray(values, dtype=np.float64)
        if not any(name.startswith(f"{task}/") for name in found):
            raise UserError(f"evaluation.lm_eval.tasks: {task} has no accuracy by document")
    return found
