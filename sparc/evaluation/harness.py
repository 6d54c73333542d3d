"""Accuracy on tasks of lm-evaluation-harness, document by document."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparc.config import LmEvalConfig
from sparc.errors import UserError
from sparc.models import Model

Array = NDArray[np.float64]


def accuracies(model: Model, config: LmEvalConfig) -> dict[str, Array]:
    """ "task/metric" -> a value for each document [documents], higher is better.

    Metrics without a value for each document, or for which lower is better (perplexities), are
    left out. Raises UserError where the package or a task is missing, and where a task has no
    such metric.
    """
    if not config.tasks:
        return {}
    try:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise UserError(
            "evaluation.lm_eval.tasks needs lm-evaluation-harness: pip install 'sparc[eval]'"
        ) from error
    for name in ("lm_eval", "lm-eval", "lm_eval.evaluator"):  # one line for every request
        logging.getLogger(name).setLevel(logging.ERROR)
    # the thousands of bundled tasks take long to index, and local ones may not need them
    own = TaskManager(include_path=config.include_path, include_defaults=False)
    known = config.include_path is not None and set(config.tasks) <= set(own.all_tasks)
    tasks = own if known else TaskManager(include_path=config.include_path)
    missing = sorted(set(config.tasks) - set(tasks.all_tasks))
    if missing:
        raise UserError(
            f"evaluation.lm_eval.tasks: unknown {', '.join(missing)}; set "
            "evaluation.lm_eval.include_path to the folder of your own task files"
        )
    results: Any = simple_evaluate(
        model=HFLM(
            pretrained=model.network,
            tokenizer=model.tokenizer,
            batch_size=config.batch_size,
            max_length=model.max_length,
        ),
        tasks=list(config.tasks),
        num_fewshot=config.num_fewshot,
        limit=config.limit,
        task_manager=tasks,
        bootstrap_iters=0,
    )
    return _by_document(results)


def task_files(config: LmEvalConfig) -> dict[str, str]:
    """Content of the local task files and data beside them, by path."""
    if config.include_path is None:
        return {}
    from sparc.digests import file_digest

    folder = Path(config.include_path)
    files = sorted(each for each in folder.rglob("*") if each.is_file())
    return {str(each.relative_to(folder)): file_digest(each) for each in files}


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
