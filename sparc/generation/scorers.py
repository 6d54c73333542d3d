"""Scorers: functions from texts to a score in [0, 1] each, NaN for a text without words.

A new scorer is one function that returns a `Scorer`. A score says what its classifier thinks;
scores of different scorers must not be compared with each other.
"""

import errno
import itertools
import pickle
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import constants
from numpy.typing import NDArray

from sparc.errors import UserError
from sparc.generation.repetition import uniqueness
from sparc.models.batching import BatchTokens, in_batches
from sparc.models.fingerprint import memory_fingerprint
from sparc.sources.hub import unasked
from sparc.sources.hub_models import model_folder_of
from sparc.storage.digests import digest


@dataclass(frozen=True)
class Scorer:
    """A function from texts to scores [texts]; `content` identifies all that it scores with.

    That is what was loaded, whatever lies where it came from.
    """

    score: Callable[[Sequence[str]], NDArray[np.float64]]
    content: str

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        return self.score(texts)


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

    weights = memory_fingerprint(detoxify.model, detoxify.tokenizer)
    return _in_chunks(score, batch_size, ["detoxify", weights, detoxify.class_names, label])


def classifier_scorer(
    path: str | Path, *, label: str, device: str, batch_size: int, revision: str | None = None
) -> Scorer:
    """Probability of `label` under any sequence classifier of transformers, run in float32.

    revision: branch, tag or commit of a hub id. Independent labels (one output, or a multi-label
    classifier) go through a sigmoid, exclusive ones through a softmax. Raises UserError for a
    classifier that cannot be loaded or lacks `label`.
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
    several = model.config.problem_type == "multi_label_classification"
    independent = several or len(labels) == 1

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
        found = []
        for text in texts:
            tokens = re.findall(r"\w+(?:['’-]\w+)*", text.lower())  # noqa: RUF001
            neighbours = itertools.pairwise(tokens)
            found.append(float(not single.isdisjoint(tokens) or not pairs.isdisjoint(neighbours)))
        return found

    return _in_chunks(score, 1024, ["lexicon", sorted(single), sorted(pairs)])


def repetition_scorer() -> Scorer:
    """1 - Response Uniqueness Ratio (distinct words / words; SparC3, appendix F.2).

    So the paper's r <= 0.5 is a score from 0.5 on.
    """

    def score(texts: list[str]) -> list[float]:
        return [1 - uniqueness(text.split()) for text in texts]

    return _in_chunks(score, 1024, ["repetition"])


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

        def of_chunk(rows: list[int]) -> list[float]:
            return score([distinct[row] for row in rows])

        for rows, found in in_batches([1] * len(distinct), room, of_chunk):
            scores.update(zip([distinct[row] for row in rows], found, strict=True))
        return np.array([scores.get(text, np.nan) for text in texts], dtype=np.float64)

    # The chunks change the last digits. A formula that changes gets a new number here.
    return Scorer(scorer, digest([*content, batch_size, 1]))


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
        return _loaded(
            source,
            lambda: torch.load(weights, map_location="cpu", weights_only=True),
            lambda: Detoxify(checkpoint=str(weights), device=device),
        )
    missing = UserError(
        f"weights of Detoxify '{source}' are not cached; run stage=prefetch where there is a "
        "network, or name a file: evaluation.detoxify.source=FILE"
    )
    if constants.HF_HUB_OFFLINE and not weights.is_file():
        raise missing
    try:
        return _loaded(
            source,
            lambda: _checked_download(MODEL_URLS[str(source)]),
            lambda: Detoxify(str(source), device=device),
        )
    except OSError as error:  # no network: URLError for weights, OSError for the tokenizer
        raise missing from error


def _from_cache_first(load: Callable[[], Any]) -> Any:
    """`load()` without a question to the hub if it can: Detoxify asks about what is there, too."""
    try:
        with unasked():
            return load()
    except OSError:
        return load()


def _checked_download(url: str) -> Any:
    """The content of a variant's file, the download held against the hash in its name."""
    fetch = torch.hub.load_state_dict_from_url
    try:
        return fetch(url, map_location="cpu", weights_only=True, check_hash=True)
    except RuntimeError as error:
        if "invalid hash" not in str(error):
            raise
        raise UserError(f"{url}: what was downloaded is not that file: try again") from error


def _loaded(source: str | Path, read: Callable[[], Any], make: Callable[[], Any]) -> Any:
    """What `make` gives, unless `read`, which takes weights only, refuses the checkpoint.

    Detoxify itself unpickles whatever is in the file, and so runs code that it holds; weights that
    the file lacks it leaves random. Raises UserError for such files and for damaged ones.
    """
    try:
        stored = read()["state_dict"].keys()
        detoxify = _from_cache_first(make)
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        named = re.search(r"\bGLOBAL ([\w.]+)", str(error))
        reason = f"it asks for {named[1]}" if named else type(error).__name__
        raise UserError(
            f"Detoxify '{source}': no checkpoint that holds weights and plain values only "
            f"({reason}), and loading anything else could run its code: give another file in "
            "evaluation.detoxify.source"
        ) from error
    except Exception as error:  # whatever a foreign or a damaged file brings about
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # torch's, of half a file
            raise
        raise UserError(_damaged(source, type(error).__name__)) from error
    for name, _ in detoxify.model.named_parameters():
        if name not in stored:
            raise UserError(_damaged(source, f"lacks {name}"))
    return detoxify


def _damaged(source: str | Path, why: str) -> str:
    file = detoxify_file(source)
    size = file.stat().st_size
    what = "is empty" if size == 0 else f"is damaged or no checkpoint of Detoxify ({why})"
    again = (
        "give another file in evaluation.detoxify.source"
        if file == Path(source) or Path(source).is_dir()
        else "remove it and run stage=prefetch where there is a network"
    )
    return f"Detoxify '{source}': {file} {what}; {again}"


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
