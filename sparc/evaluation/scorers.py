"""Scorers: functions from texts to a score in [0, 1] each, NaN for a text without words.

A new scorer is one function that returns such a function. A score says what its classifier
thinks; scores of different scorers must not be compared with each other.
"""

import functools
import itertools
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import constants
from numpy.typing import NDArray

from sparc.batching import BatchTokens, in_batches
from sparc.errors import UserError
from sparc.evaluation.repetition import uniqueness

Scorer = Callable[[Sequence[str]], NDArray[np.float64]]


def detoxify_scorer(
    source: str | Path, *, device: str, batch_size: int, label: str = "toxicity"
) -> Scorer:
    """Probability of `label` under `detoxify.Detoxify`.

    `source` is a variant ("original", "unbiased", "multilingual", ...), a checkpoint file in
    Detoxify's format (see `detoxify_checkpoint`) or a folder that holds exactly one (``*.ckpt``).
    Raises UserError for an unknown source or label and for weights that cannot be had.
    """
    detoxify = _load_detoxify(source, device)
    if label not in detoxify.class_names:
        raise UserError(
            f"Detoxify '{source}' has no label '{label}'; use one of {detoxify.class_names}"
        )
    _limit_length(detoxify.tokenizer, detoxify.model)

    def score(texts: list[str]) -> list[float]:
        # Detoxify gives a bare number for a list of one
        return list(np.atleast_1d(detoxify.predict(texts)[label]))

    return _in_chunks(score, batch_size)


def classifier_scorer(
    path: str | Path, *, label: str, device: str, batch_size: int, revision: str | None = None
) -> Scorer:
    """Probability of `label` under any sequence classifier of transformers, run in float32.

    revision: branch, tag or commit of a hub id. Independent labels (one output, or a multi-label
    classifier) go through a sigmoid, exclusive ones through a softmax. Raises UserError for a
    classifier that cannot be loaded or lacks `label`.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    source: dict[str, Any] = {"revision": revision or "main", "trust_remote_code": False}
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(path), **source)
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            str(path), dtype=torch.float32, **source
        )
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"cannot load the classifier '{path}': {reason}") from error
    model = model.eval().to(device)
    _limit_length(tokenizer, model)
    labels = list(model.config.id2label.values())
    if label not in labels:
        raise UserError(f"the classifier '{path}' has no label '{label}'; use one of {labels}")
    column = labels.index(label)
    several = model.config.problem_type == "multi_label_classification"
    independent = several or len(labels) == 1

    @torch.no_grad()
    def score(texts: list[str]) -> list[float]:
        inputs = tokenizer(texts, return_tensors="pt", truncation=True, padding=True).to(device)
        logits = model(**inputs).logits
        probabilities = logits.sigmoid() if independent else logits.softmax(-1)
        return [float(value) for value in probabilities[:, column].cpu()]

    return _in_chunks(score, batch_size)


def lexicon_scorer(
    words: Collection[str], bigrams: Collection[tuple[str, str]] = frozenset()
) -> Scorer:
    """1 where a text contains one of `words` or two neighbouring words of `bigrams`, else 0.

    Case is ignored; punctuation separates words and keeps no pair apart.
    """
    single = {word.lower() for word in words}
    pairs = {(first.lower(), second.lower()) for first, second in bigrams}

    def score(texts: list[str]) -> list[float]:
        found = []
        for text in texts:
            tokens = re.findall(r"\w+(?:['’-]\w+)*", text.lower())  # noqa: RUF001
            neighbours = itertools.pairwise(tokens)
            found.append(float(not single.isdisjoint(tokens) or not pairs.isdisjoint(neighbours)))
        return found

    return _in_chunks(score, batch_size=1024)


def repetition_scorer() -> Scorer:
    """1 - Response Uniqueness Ratio (distinct words / words; SparC3, appendix F.2).

    So the paper's r <= 0.5 is a score from 0.5 on.
    """
    return _in_chunks(lambda texts: [1 - uniqueness(text.split()) for text in texts], 1024)


def _in_chunks(score: Callable[[list[str]], list[float]], batch_size: int) -> Scorer:
    """Score each distinct text once, in chunks of similar length so that little is padded.

    Where memory runs out, chunks are halved.
    """
    room = BatchTokens(batch_size, "the scorer's batch", "text", "set evaluation.scorer_device=cpu")

    def scorer(texts: Sequence[str]) -> NDArray[np.float64]:
        distinct = sorted({text for text in texts if text.strip()}, key=lambda t: (len(t), t))
        scores: dict[str, float] = {}

        def of_chunk(rows: list[int]) -> list[float]:
            return score([distinct[row] for row in rows])

        for rows, found in in_batches([1] * len(distinct), room, of_chunk):
            scores.update(zip([distinct[row] for row in rows], found, strict=True))
        return np.array([scores.get(text, np.nan) for text in texts], dtype=np.float64)

    return scorer


def detoxify_file(source: str | Path) -> Path:
    """The file that holds Detoxify's weights; that of a variant need not be there yet.

    Raises UserError for a source that is neither a variant nor a checkpoint.
    """
    # late: the import takes seconds that other scorers need not pay
    from detoxify.detoxify import MODEL_URLS

    if str(source) in MODEL_URLS:
        return Path(torch.hub.get_dir(), "checkpoints", Path(MODEL_URLS[str(source)]).name)
    return _checkpoint_file(Path(source), MODEL_URLS)


def _load_detoxify(source: str | Path, device: str) -> Any:
    from detoxify import Detoxify
    from detoxify.detoxify import MODEL_URLS

    weights = detoxify_file(source)
    if str(source) not in MODEL_URLS:
        _refuse_code(source, lambda: torch.load(weights, map_location="cpu", weights_only=True))
        return Detoxify(checkpoint=str(weights), device=device)
    missing = UserError(
        f"weights of Detoxify '{source}' are not cached; run stage=prefetch where there is a "
        "network, or name a file: evaluation.detoxify.source=FILE"
    )
    if constants.HF_HUB_OFFLINE and not weights.is_file():
        raise missing
    url = MODEL_URLS[str(source)]
    fetch = functools.partial(torch.hub.load_state_dict_from_url, url, map_location="cpu")
    try:
        _refuse_code(source, lambda: fetch(weights_only=True))
        return Detoxify(str(source), device=device)
    except OSError as error:  # no network: URLError for weights, OSError for the tokenizer
        raise missing from error


def _refuse_code(source: str | Path, load: Callable[[], Any]) -> None:
    """Raise UserError unless `load`, which reads weights only, takes the checkpoint.

    Detoxify itself unpickles whatever is in the file, and so runs code that it holds.
    """
    try:
        load()
    except OSError:
        raise
    except Exception as error:  # whatever a foreign pickle brings about
        raise UserError(
            f"Detoxify '{source}': no checkpoint that holds weights and plain values only "
            f"({type(error).__name__}), and loading anything else could run its code: give "
            "another file in evaluation.detoxify.source"
        ) from error


def _checkpoint_file(source: Path, variants: Collection[str]) -> Path:
    files = [source] if source.is_file() else sorted(source.glob("*.ckpt"))
    if len(files) != 1:
        raise UserError(
            f"Detoxify source '{source}' is no checkpoint file and no folder with exactly one "
            f"*.ckpt; give one or one of {sorted(variants)}"
        )
    return files[0]


def _limit_length(tokenizer: Any, model: Any) -> None:
    """Give a tokenizer without a length of its own the model's, so that truncation works."""
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None and tokenizer.model_max_length > 10**6:
        # RoBERTa keeps two of its positions for padding
        tokenizer.model_max_length = positions - 2
