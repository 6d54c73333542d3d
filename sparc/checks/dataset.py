"""Impossible values and combinations within the group `dataset`."""

import os
from collections.abc import Iterator

from sparc.checks.attribution import target_complaints
from sparc.config import GENERAL, UNDESIRED, Config, answers, settings_of
from sparc.runs.folder import REFERENCES_FILE

_ALL_RESPONSES = "sparc.tasks.repetition.repetition"  # whose every mode is one of responses


def dataset_complaints(config: Config) -> Iterator[str]:
    dataset, prompts = config.dataset, config.dataset.prompts
    yield from target_complaints("dataset._target_", dataset._target_)
    if not prompts.neutral_to < prompts.undesired_from:
        yield (
            f"dataset.prompts.neutral_to={prompts.neutral_to}: must be below "
            f"dataset.prompts.undesired_from={prompts.undesired_from}"
        )
    if not dataset.reference_seeds:
        yield "dataset.reference_seeds=[]: name at least one seed"
    for key in ("undesired_category", "neutral_category"):
        category = getattr(dataset, key)
        if category is not None and category not in dataset.categories:
            yield (
                f"dataset.{key}={category}: must be one of dataset.categories={dataset.categories}"
            )
    if dataset.neutral_category == dataset.undesired_category:
        yield f"dataset.neutral_category={dataset.neutral_category}: is the undesired category, too"
    if prompts.split_by == "none" and not config.evaluation.in_sample:
        yield (
            "dataset.prompts.split_by=none: every prompt may be attributed and evaluated; add "
            "evaluation.in_sample=true, which marks every number as in-sample"
        )
    for name in (GENERAL, UNDESIRED):
        each = settings_of(dataset, name)
        if each.seq_len is not None and each.path is None:
            yield f"dataset.{name}.seq_len needs long texts: add dataset.{name}.path=..."
        if each.from_run and not os.path.isfile(os.path.join(each.from_run, REFERENCES_FILE)):
            yield (
                f"dataset.{name}.from_run={each.from_run}: holds no {REFERENCES_FILE}; give the "
                "directory of a run that attributed references"
            )
    yield from _search_complaints(config)
    yield from _response_complaints(config)


def _search_complaints(config: Config) -> Iterator[str]:
    general, undesired = config.dataset.general, config.dataset.undesired
    all_responses = config.dataset._target_ == _ALL_RESPONSES and undesired.from_run is None
    searches = answers(undesired) or all_responses
    unread = [key for key in ("path", "seq_len", "max_words") if getattr(undesired, key)]
    if searches and unread:
        texts = "" if all_responses else ", or take texts: dataset.undesired.mode=whole"
        yield (
            f"dataset.undesired.{unread[0]} is not read: undesired references are responses of "
            f"the model; leave it out{texts}"
        )
    if answers(general) and not searches:
        yield (
            f"dataset.general.mode={general.mode}: its benign responses are found together with "
            "undesired ones; set dataset.undesired.mode=response or response_cut without "
            "dataset.undesired.from_run, or dataset.general.mode=cut or whole, or "
            "dataset.general.from_run, too"
        )


def _response_complaints(config: Config) -> Iterator[str]:
    response = config.dataset.undesired.response
    if response.benign_to >= response.threshold:
        yield (
            f"dataset.undesired.response.benign_to={response.benign_to}: must be below "
            f"threshold={response.threshold}"
        )
    if response.temperature == 0 and response.samples > 1:
        yield (
            f"dataset.undesired.response.samples={response.samples} with temperature=0: greedy "
            "decoding gives one response; set dataset.undesired.response.samples=1"
        )
    wrong = set(response.categories or ()) - set(config.dataset.categories)
    if wrong:
        yield (
            f"dataset.undesired.response.categories: {sorted(wrong)} are none of "
            f"dataset.categories={config.dataset.categories}"
        )
