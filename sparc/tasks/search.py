"""Looking for a model's own undesired and benign responses among sampled ones.

Candidates are completed and scored batch by batch. Every batch is kept in the cache under its
content, so that a search that was killed goes on where it was, and one with another threshold or
number begins with what is there.
"""

import json
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from sparc.config import SamplingConfig
from sparc.errors import UserError
from sparc.generation.completing import (
    complete_tokens,
    completing,
    decoded,
    encode,
    end_tokens,
)
from sparc.generation.inference import Advance, ignore
from sparc.models.batching import BatchTokens
from sparc.storage.artifacts import write_json
from sparc.storage.cache import fetch
from sparc.storage.digests import digest
from sparc.tasks.cuts import cuts
from sparc.tasks.dataset import Tools

_BATCH = 64  # responses: as much as a killed search loses
_FORMULA_VERSION = 1
_FILE = "responses.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Response:
    """What a model said after a prompt: text, token ids, score; cut: see `sparc.tasks.cuts`.

    score: None for a response without words. cut: None where nobody asked for it.
    """

    prompt: str
    prompt_ids: tuple[int, ...]
    text: str
    ids: tuple[int, ...]
    score: float | None
    cut: int | None = None


@dataclass(frozen=True)
class Search:
    """How responses are looked for.

    seed: root of the random streams. threshold: undesired from this score on; benign_to: benign
    up to this one. fewest: how few of a kind will do, None where all that were asked for are
    needed. cut: at which score of what was said so far a response becomes undesired, None where
    that does not matter. batch_tokens: of a batch of completions; advice: what to do where too
    few are found.
    """

    sampling: SamplingConfig
    seed: int
    threshold: float
    benign_to: float
    batch_tokens: int
    cut: float | None
    advice: str
    fewest: int | None = None

    @cached_property
    def room(self) -> BatchTokens:
        """What a batch of completions may take, the same for the whole search."""
        return completing(self.batch_tokens)


@dataclass(frozen=True)
class Found:
    """The undesired and the benign responses in the order in which they were found."""

    undesired: list[Response]
    benign: list[Response]


def found_responses(
    tools: Tools, search: Search, prompts: Sequence[str], undesired: int, benign: int
) -> Found:
    """The first `undesired` and `benign` responses to `prompts`, at most one of a kind a prompt.

    Cached under the model, the prompts, the search and the numbers. Raises UserError where too few
    are found.
    """
    key = {
        **_content(tools, search, prompts),
        "threshold": search.threshold,
        "benign_to": search.benign_to,
        "fewest": search.fewest,
        "cut": search.cut,
        "undesired": undesired,
        "benign": benign,
    }

    def save(folder: Path) -> None:
        found = _search(tools, search, prompts, undesired, benign)
        if search.cut is not None:
            found = Found(_cut(tools, search.cut, found.undesired), found.benign)
        write_json(folder / _FILE, asdict(found))

    def load(folder: Path) -> Found:
        kept = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        return Found(**{name: [_response(each) for each in kept[name]] for name in kept})

    return fetch(tools.cache, "references", key, load=load, save=save)[0]


def responses(
    tools: Tools,
    search: Search,
    prompts: Sequence[str],
    advance: Advance = ignore,
) -> Iterator[list[list[Response]]]:
    """Batches of [prompts][samples], in order; each is read from the cache or made and kept."""
    size = max(1, _BATCH // search.sampling.samples)
    for start in range(0, len(prompts), size):
        batch = prompts[start : start + size]

        def save(folder: Path, batch: Sequence[str] = batch) -> None:
            said = [[asdict(each) for each in samples] for samples in _said(tools, search, batch)]
            write_json(folder / _FILE, said)

        yield fetch(
            tools.cache, "responses", _content(tools, search, batch), load=_load, save=save
        )[0]
        advance(len(batch) * search.sampling.samples)


def _load(folder: Path) -> list[list[Response]]:
    said = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    return [[_response(each) for each in samples] for samples in said]


def _response(kept: dict[str, Any]) -> Response:
    ids = {name: tuple(kept[name]) for name in ("ids", "prompt_ids")}
    return Response(**{**kept, **ids})


def _content(tools: Tools, search: Search, prompts: Sequence[str]) -> dict[str, Any]:
    """What responses and their scores depend on."""
    assert tools.scorer is not None, "the pipeline loads the scorers of a search"
    model = tools.model
    return {
        **model.key,
        "ends": end_tokens(model.network, model.tokenizer),
        "prompts": digest([list(prompts), _encoded(tools, search, prompts)]),
        "sampling": asdict(search.sampling),
        "seed": search.seed,
        "scorer": tools.scorer.content,
        "formula": _FORMULA_VERSION,
    }


def _encoded(tools: Tools, search: Search, prompts: Sequence[str]) -> list[list[int]]:
    model = tools.model
    return encode(model.network, model.tokenizer, prompts, search.sampling.max_new_tokens)


def _said(tools: Tools, search: Search, prompts: Sequence[str]) -> list[list[Response]]:
    """Complete and score one batch."""
    model = tools.model
    assert tools.scorer is not None, "the pipeline loads the scorers of a search"
    tokens = complete_tokens(
        model.network,
        model.tokenizer,
        prompts,
        search.sampling,
        seed=search.seed,
        batch_tokens=search.room,
    )
    texts = [decoded(model.tokenizer, ids) for samples in tokens for ids in samples]
    scores = iter(zip(texts, tools.scorer(texts), strict=True))
    return [
        [
            Response(prompt, tuple(encoded), text, tuple(ids), None if np.isnan(s) else float(s))
            for ids, (text, s) in zip(samples, scores, strict=False)
        ]
        for prompt, encoded, samples in zip(
            prompts, _encoded(tools, search, prompts), tokens, strict=True
        )
    ]


def _search(
    tools: Tools, search: Search, prompts: Sequence[str], undesired: int, benign: int
) -> Found:
    """Go through the prompts until there is enough of both kinds."""
    found, candidates = Found([], []), 0
    total = len(prompts) * search.sampling.samples
    with tools.progress("references: candidate responses", total) as advance:
        for batch in responses(tools, search, prompts, advance):
            for samples in batch:
                found.undesired.extend(_first(samples, search.threshold, math.inf))
                found.benign.extend(_first(samples, 0.0, search.benign_to))
                candidates += len(samples)
            here = (min(len(found.undesired), undesired), min(len(found.benign), benign))
            _log.info(
                "references: %d of %d undesired and %d of %d benign responses among %d candidates",
                *(here[0], undesired, here[1], benign, candidates),
            )
            if here == (undesired, benign):
                break
    kinds = (
        (len(found.undesired), undesired, f"responses >= {search.threshold:g}"),
        (len(found.benign), benign, f"benign responses <= {search.benign_to:g}"),
    )
    for count, wanted, what in kinds:
        needed = min(wanted, search.fewest or wanted)
        if count < needed:
            raise UserError(
                f"found {count} of {needed} {what} among {candidates:,} candidates: {search.advice}"
            )
    return Found(found.undesired[:undesired], found.benign[:benign])


def _first(samples: Sequence[Response], low: float, high: float) -> list[Response]:
    """The first of a prompt's responses whose score lies in between, if there is one."""
    inside = (each for each in samples if each.score is not None and low <= each.score <= high)
    return list(islice(inside, 1))


def _cut(tools: Tools, threshold: float, found: list[Response]) -> list[Response]:
    assert tools.scorer is not None
    ids = [each.ids for each in found]
    where = cuts(tools.model.tokenizer, ids, tools.scorer, threshold)
    return [Response(**{**vars(each), "cut": cut}) for each, cut in zip(found, where, strict=True)]


def stream(seed: int, reference_seed: int) -> int:
    """The root of the random streams for one reference seed."""
    return int.from_bytes(sha256(f"responses {seed} {reference_seed}".encode()).digest()[:4])
