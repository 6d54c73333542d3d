"""The scores of one reference set: from the cache, from parts, or computed and kept."""

import contextlib
import importlib.metadata
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_method

from sparc.attribution.accumulate import Statistic, accumulate
from sparc.attribution.memory import announce, batch_tokens, gradient_checkpointing
from sparc.attribution.method import Method
from sparc.attribution.samples import ReferenceSet
from sparc.attribution.sums import Sums, load_sums, merge, save_sums
from sparc.components.scores import Scores, held, load_scores, save_scores
from sparc.components.sites import Site, sites
from sparc.config import GENERAL, AttributionConfig
from sparc.config.methods import DATA_FREE, method_options, source_digest
from sparc.errors import UserError
from sparc.models.batching import BatchTokens
from sparc.models.model import Model
from sparc.storage.artifacts import remove
from sparc.storage.cache import Corrupt, entry_folder, fetch, peek

FORMULA_VERSION = 3
"""Raised when a formula changes, so that scores of an older one are not read."""

_GRANULARITY = "neurons"
_KIND = "scores"
_PART = "sums.safetensors"
_log = logging.getLogger(__name__)
Advance = Callable[[int], None]


def ignore(_count: int) -> None:
    """Nobody watches the progress."""


def score_key(
    model: Model, reference_set: ReferenceSet, config: AttributionConfig
) -> dict[str, Any]:
    """All that changes the scores of a reference set, and nothing else."""
    data_free = config.name in DATA_FREE
    return {
        **model.key,
        "lxt": importlib.metadata.version("lxt"),
        "granularity": _GRANULARITY,
        "references": reference_set.name if data_free else reference_set.fingerprint,
        "method": config.name,
        "target": config._target_,
        "source": source_digest(config._target_),
        "options": method_options(config),
        "formula": FORMULA_VERSION,
    }


@dataclass(frozen=True)
class Engine:
    """A model and how it is attributed, with the cache that holds what is done."""

    model: Model
    config: AttributionConfig
    cache: Path
    advance: Advance = ignore

    @cached_property
    def _sites(self) -> tuple[Site, ...]:
        return tuple(sites(self.model, _GRANULARITY))

    @cached_property
    def room(self) -> BatchTokens:
        """What a batch of reference samples may take, the same for all sets."""
        return batch_tokens(self.config)

    def announce(self, reference_sets: Sequence[ReferenceSet], shard: int | None = None) -> None:
        """Say in the log what computing `reference_sets` (or a shard of each) will take.

        Nothing is said where everything is in the cache.
        """
        lengths = [
            len(each.token_ids[row]) for each in reference_sets for row in self._rows(each, shard)
        ]
        if lengths and self.config.name not in DATA_FREE:
            announce(self.model, lengths, self.config)

    def _rows(self, reference_set: ReferenceSet, shard: int | None) -> list[int]:
        """The samples that are to be computed."""
        if self.has_scores(reference_set):
            return []
        shards = range(self.config.shards) if shard is None else [shard]
        if self.config.shards > 1:
            shards = [each for each in shards if not self.has_part(reference_set, each)]
        samples = range(len(reference_set.token_ids))
        return [row for each in shards for row in samples[each :: self.config.shards]]

    def has_scores(self, reference_set: ReferenceSet) -> bool:
        """Whether the cache holds the set's scores."""
        key = score_key(self.model, reference_set, self.config)
        return peek(self.cache, _KIND, key, load=self._load) is not None

    def has_part(self, reference_set: ReferenceSet, shard: int) -> bool:
        """Whether the cache holds part `shard` of the set."""
        load = partial(self._load_part, reference_set, shard)
        key = self._part_key(reference_set, shard)
        return peek(self.cache, _KIND, key, load=load) is not None

    def scores(self, reference_set: ReferenceSet) -> tuple[Scores, bool]:
        """The set's scores, and whether they were in the cache."""
        scores, cached = fetch(
            self.cache,
            _KIND,
            score_key(self.model, reference_set, self.config),
            load=self._load,
            save=lambda folder: save_scores(self._compute(reference_set), folder),
        )
        if cached:
            self.advance(len(reference_set.token_ids))
        if scores.left_out and self.config.nonfinite == "stop":
            raise UserError(
                f"{_label(reference_set)}: relevance of reference samples "
                f"{list(scores.left_out)} is not finite: use model.dtype=float32 or bfloat16, or "
                "attribution.nonfinite=skip"
            )
        return scores, cached

    def part(self, reference_set: ReferenceSet, shard: int) -> Sums:
        """The sums over every K-th sample of the set, beginning with sample `shard`."""
        key = self._part_key(reference_set, shard)

        def save(folder: Path) -> None:
            with self._method() as method:
                assert method.statistic is not None
                rows = range(shard, len(reference_set.token_ids), self.config.shards)
                sums = self._sums(method.statistic, reference_set, key, rows)
            save_sums(sums, folder / _PART, key)

        load = partial(self._load_part, reference_set, shard)
        sums, cached = fetch(self.cache, _KIND, key, load=load, save=save)
        if cached:
            self.advance(int(sums.done.sum()))
        return sums

    @contextlib.contextmanager
    def _method(self) -> Iterator[Method]:
        with contextlib.ExitStack() as stack:
            again = self.config.gradient_checkpointing
            stack.enter_context(gradient_checkpointing(self.model, again))
            yield stack.enter_context(self._opened())

    def _opened(self) -> contextlib.AbstractContextManager[Method]:
        """The method's context. Raises UserError where the target gives none."""
        target = self.config._target_
        try:
            opened = get_method(target)(self.model, self.config)
        except TypeError as error:
            raise UserError(f"attribution._target_={target}: {error}") from error
        if not isinstance(opened, contextlib.AbstractContextManager):
            raise UserError(
                f"attribution._target_={target}: is no attribution method: called with model and "
                f"configuration it gives a {type(opened).__name__}, not a context of a Method"
            )
        return opened

    def _compute(self, reference_set: ReferenceSet) -> Scores:
        samples = len(reference_set.token_ids)
        sums = None
        if self.config.shards > 1 and self.config.name not in DATA_FREE:
            # Before the method's own block: each part opens it, and rules must not be bound twice.
            shards = min(self.config.shards, samples)
            sums = merge([self.part(reference_set, shard) for shard in range(shards)])
        with self._method() as method:
            if method.statistic is None:
                self.advance(samples)
                values = method.scores(torch.empty(0), 0)
                # the contrast general - undesired is then the score itself
                values = values if reference_set.name == GENERAL else torch.zeros_like(values)
                return held(_GRANULARITY, self._sites, values)
            if sums is None:
                key = score_key(self.model, reference_set, self.config)
                sums = self._sums(method.statistic, reference_set, key, range(samples))
            if not sums.counted:
                raise UserError(
                    f"{_label(reference_set)}: no reference sample has finite relevance"
                )
            values = method.scores(sums.totals, sums.counted)
            return held(_GRANULARITY, self._sites, values, sums.counted, sums.per_sample)

    def _sums(
        self,
        compute: Statistic,
        reference_set: ReferenceSet,
        key: dict[str, Any],
        rows: Sequence[int],
    ) -> Sums:
        """Compute sums over `rows`, going on from what a process that ended early has left."""
        left = entry_folder(self.cache, _KIND, key)
        left = left.with_name(f"{left.name}.partial.safetensors")
        sums = accumulate(
            self.model,
            compute,
            reference_set.token_ids,
            self.config,
            rows=rows,
            room=self.room,
            start=self._resumed(left, key, len(reference_set.token_ids)),
            keep=lambda sums: save_sums(sums, left, key),
            label=_label(reference_set),
            advance=self.advance,
        )
        left.unlink(missing_ok=True)
        return sums

    def _resumed(self, path: Path, key: dict[str, Any], samples: int) -> Sums | None:
        if not path.exists():
            return None
        try:
            sums = load_sums(path, key, len(self.model.blocks), samples)
        except Corrupt as error:
            _log.warning("unfinished attribution %s: starting over", error)
            remove(path)
            return None
        _log.info("going on after %d of %d reference samples", int(sums.done.sum()), samples)
        return sums

    def _part_key(self, reference_set: ReferenceSet, shard: int) -> dict[str, Any]:
        key = score_key(self.model, reference_set, self.config)
        return {**key, "shard": [shard, self.config.shards]}

    def _load(self, folder: Path) -> Scores:
        return load_scores(folder, _GRANULARITY, self._sites)

    def _load_part(self, reference_set: ReferenceSet, shard: int, folder: Path) -> Sums:
        key = self._part_key(reference_set, shard)
        samples = len(reference_set.token_ids)
        return load_sums(folder / _PART, key, len(self.model.blocks), samples)


def _label(reference_set: ReferenceSet) -> str:
    return f"{reference_set.name} references, seed {reference_set.seed}"
