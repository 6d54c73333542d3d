"""Scorers: functions from texts to a score in [0, 1] each, NaN for a text without words.

A new scorer is one function that returns a `Scorer`, one entry of `load_scorers` and a name in
`config.evaluation.SCORERS`. A score says what its classifier thinks; scores of different scorers
must not be compared with each other.
"""

import itertools
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sparc.config import EvaluationConfig
from sparc.config.locations import EMBEDDED, EMBEDDED_CLASSIFIER
from sparc.errors import UserError
from sparc.generation.detoxify import detoxify_checkpoint, load_detoxify
from sparc.generation.repetition import uniqueness
from sparc.models.batching import BatchTokens, in_batches
from sparc.models.fingerprint import memory_fingerprint
from sparc.sources.hub_models import model_folder_of
from sparc.sources.reading import lines
from sparc.storage.digests import digest

_BATCH = 256
Lexicon = tuple[frozenset[str], frozenset[tuple[str, str]]]
"""Undesired words, and pairs of words."""


@dataclass(frozen=True)
class Scorer:
    """A function from texts to scores [texts]."""

    score: Callable[[Sequence[str]], NDArray[np.float64]]
    content: str
    """Identifies all that it scores with: what was loaded, whatever lies where it came from."""

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        return self.score(texts)


def load_scorers(
    config: EvaluationConfig, known: Lexicon | None, device: str, cache: Path
) -> dict[str, Scorer]:
    """The scorers that `evaluation.scorers` names, the primary one first; classifiers on `device`.

    Raises UserError where a scorer's weights are missing or there is no lexicon: neither a file
    nor `known`, that of the data set.
    """

    def detoxify() -> Scorer:
        source, label = config.detoxify.source, config.detoxify.label
        file = detoxify_checkpoint(EMBEDDED_CLASSIFIER, cache) if source == EMBEDDED else source
        return detoxify_scorer(file, device=device, batch_size=_BATCH, label=label)

    def classifier() -> Scorer:
        if config.classifier.path is None:
            raise UserError(
                "evaluation.classifier.path is not set: name a sequence classifier (hub id or "
                "folder) for evaluation.scorers=classifier"
            )
        return classifier_scorer(**vars(config.classifier), device=device, batch_size=_BATCH)

    makers: dict[str, Callable[[], Scorer]] = {
        "detoxify": detoxify,
        "classifier": classifier,
        "lexicon": lambda: lexicon_scorer(*lexicon_of(config, known)),
        "repetition": repetition_scorer,
    }
    return {name: makers[name]() for name in config.scorers}


def lexicon_of(config: EvaluationConfig, known: Lexicon | None) -> Lexicon:
    """Words and pairs of `evaluation.lexicon.path`, or else those that the data set knows.

    Raises UserError for a file that is no lexicon, and where there is none.
    """
    path = config.lexicon.path
    if path is None:
        if known is None:
            raise UserError(
                "evaluation.scorers=lexicon: this data set has no lexicon; set "
                "evaluation.lexicon.path=... (a word or a pair of words a line)"
            )
        return known
    entries = [tuple(line.lower().split()) for line in lines(path)]
    for number, entry in enumerate(entries, start=1):
        if len(entry) > 2:
            raise UserError(f"{path}, entry {number}: more than two words ({' '.join(entry)})")
    pairs = frozenset((entry[0], entry[1]) for entry in entries if len(entry) == 2)
    return frozenset(entry[0] for entry in entries if len(entry) == 1), pairs


def detoxify_scorer(
    source: str | Path, *, device: str, batch_size: int, label: str = "toxicity"
) -> Scorer:
    """Probability of `label` under `detoxify.Detoxify`.

    `source` is a variant ("original", "unbiased", "multilingual", ...), a checkpoint file in
    Detoxify's format (see `detoxify_checkpoint`) or a folder that holds exactly one (``*.ckpt``).
    Raises UserError for an unknown source or label and for weights that cannot be had.
    """
    detoxify = load_detoxify(source, device)
    if label not in detoxify.class_names:
        raise UserError(
            f"Detoxify '{source}' has no label '{label}'; use one of {detoxify.class_names}"
        )
    _limit_length(detoxify.tokenizer, detoxify.model)

    def score(texts: list[str]) -> list[float]:
        # Detoxify gives a bare number for a list of one
        return list(np.atleast_1d(detoxify.predict(texts)[label]))

    weights = memory_fingerprint(detoxify.model, detoxify.tokenizer)
    return _in_chunks(score, batch_size, ["detoxify", weights, detoxify.class_names, label])


def classifier_scorer(
    path: str | Path, *, label: str, device: str, batch_size: int, revision: str | None = None
) -> Scorer:
    """Probability of `label` under any sequence classifier of transformers, run in float32.

    `revision` is the branch, tag or commit of a hub id. Independent labels (one output, or a
    multi-label classifier) go through a sigmoid, exclusive ones through a softmax. Raises UserError
    for a classifier that cannot be loaded or lacks `label`.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    source: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    try:
        if not Path(path).is_dir():
            where = f"evaluation.classifier.path={path}"
            source["revision"] = model_folder_of(str(path), revision, where).name
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
    independent = model.config.problem_type == "multi_label_classification" or len(labels) == 1

    @torch.no_grad()
    def score(texts: list[str]) -> list[float]:
        inputs = tokenizer(texts, return_tensors="pt", truncation=True, padding=True).to(device)
        logits = model(**inputs).logits
        probabilities = logits.sigmoid() if independent else logits.softmax(-1)
        return [float(value) for value in probabilities[:, column].cpu()]

    content = ["classifier", memory_fingerprint(model, tokenizer), label]
    return _in_chunks(score, batch_size, content)


def lexicon_scorer(
    words: Collection[str], bigrams: Collection[tuple[str, str]] = frozenset()
) -> Scorer:
    """1 where a text contains one of `words` or two neighbouring words of `bigrams`, else 0.

    Case is ignored; punctuation separates words and keeps no pair apart.
    """
    single = {word.lower() for word in words}
    pairs = {(first.lower(), second.lower()) for first, second in bigrams}

    def score(texts: list[str]) -> list[float]:
        said = [re.findall(r"\w+(?:['’-]\w+)*", text.lower()) for text in texts]  # noqa: RUF001
        return [float(bool(single & {*s} or pairs & {*itertools.pairwise(s)})) for s in said]

    return _in_chunks(score, 1024, ["lexicon", sorted(single), sorted(pairs)])


def repetition_scorer() -> Scorer:
    """1 - Response Uniqueness Ratio (distinct words / words; SparC3, appendix F.2).

    So the paper's r <= 0.5 is a score from 0.5 on.
    """

    return _in_chunks(
        lambda texts: [1 - uniqueness(text.split()) for text in texts], 1024, ["repetition"]
    )


def _in_chunks(
    score: Callable[[list[str]], list[float]], batch_size: int, content: Sequence[Any]
) -> Scorer:
    """Score each distinct text once, in chunks of similar length so that little is padded.

    Where memory runs out, chunks are halved.
    """
    room = BatchTokens(batch_size, "the scorer's batch", "text", "set evaluation.scorer_device=cpu")

    def scorer(texts: Sequence[str]) -> NDArray[np.float64]:
        distinct = sorted({text for text in texts if text.strip()}, key=lambda t: (len(t), t))
        scores: dict[str, float] = {}

        def of_chunk(rows: list[int]) -> dict[str, float]:
            chunk = [distinct[row] for row in rows]
            return dict(zip(chunk, score(chunk), strict=True))

        for _, found in in_batches([1] * len(distinct), room, of_chunk):
            scores |= found
        return np.array([scores.get(text, np.nan) for text in texts], dtype=np.float64)

    # The chunks change the last digits. A formula that changes gets a new number here.
    return Scorer(scorer, digest([*content, batch_size, 1]))


def _limit_length(tokenizer: Any, model: Any) -> None:
    """Give a tokenizer without a length of its own the model's, so that truncation works."""
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None and tokenizer.model_max_length > 10**6:
        # RoBERTa keeps two of its positions for padding
        tokenizer.model_max_length = positions - 2
