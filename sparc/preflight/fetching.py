"""`stage=prefetch`: everything that an experiment needs, downloaded where there is a network."""

from collections.abc import Sequence
from dataclasses import asdict

from huggingface_hub.utils.tqdm import enable_progress_bars
from transformers.utils.logging import disable_progress_bar

from sparc.config import Config
from sparc.preflight.data import fetch_data
from sparc.preflight.findings import Row, failures
from sparc.preflight.measuring import scorer_rows, task_rows
from sparc.preflight.weights import fetch_model, tokenizer_of
from sparc.sources.hub import quiet
from sparc.storage.digests import digest


def prefetch(configs: Sequence[Config]) -> list[Row]:
    """Download model, data, scorers and tasks of each configuration; what is there stays as it is.

    One row for each of them says where it is and how large, or what went wrong; what fails does
    not keep the others from being fetched. What many configurations share is fetched once.
    """
    rows: list[Row] = []
    disable_progress_bar()  # type: ignore[no-untyped-call]  # of loading; it takes those of
    enable_progress_bars()  # downloading with it, which are wanted
    with quiet():
        for config in {_fetched(each): each for each in configs}.values():
            tokenizer = None
            with failures(rows, "model", config.model.path):
                rows.append(fetch_model(config.model))
                tokenizer = tokenizer_of(config.model)
            data, dataset = fetch_data(config, tokenizer)
            rows += data
            rows += scorer_rows(config, dataset, fetch=True)
            rows += task_rows(config.evaluation.lm_eval, fetch=True)
    return list(dict.fromkeys(rows))


def _fetched(config: Config) -> str:
    """The same for configurations for which the same is to be fetched, into the same cache."""
    parts = asdict(config.model), asdict(config.dataset), asdict(config.evaluation)
    return digest([config.paths.cache, config.pruning.method, *parts])
