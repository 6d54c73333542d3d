"""Adding a method's statistic up over the samples of one reference set."""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain

import torch

from sparc.attribution.memory import is_out_of_memory
from sparc.attribution.sums import Sums
from sparc.batching import Batch, pad_left, token_budget
from sparc.config import AttributionConfig
from sparc.errors import UserError
from sparc.models.model import Model

_log = logging.getLogger(__name__)
Statistic = Callable[[Batch], list[torch.Tensor]]


def _widest(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64  # MPS knows no float64


class _Accumulator:
    """Running totals, each layer's on its own device; they reach the CPU only in `sums`."""

    def __init__(self, model: Model, samples: int, config: AttributionConfig, label: str) -> None:
        self._model, self._label = model, label
        self._skip = config.nonfinite == "skip"
        self._samples = samples
        self._totals: list[torch.Tensor] = []
        self._rows: list[int] = []
        self._row_totals: list[torch.Tensor] = []

    def add(self, statistic: list[torch.Tensor], rows: list[int]) -> None:
        """Add one batch. Costs one synchronisation with the device: the check for NaN and Inf."""
        layers = [values.to(_widest(values.device)) for values in statistic]
        first = layers[0].device
        row_totals = torch.stack([values.sum(1).to(first) for values in layers]).sum(0)
        finite = row_totals.isfinite()  # what is not finite anywhere makes its row's total so
        if not bool(finite.all()):
            self._complain(layers, rows, finite.cpu())
            row_totals = row_totals.masked_fill(~finite, torch.nan)
            layers = [v.masked_fill(~finite.to(v.device)[:, None], 0) for v in layers]
        sums = [values.sum(0) for values in layers]
        if self._totals:
            sums = [total + each for total, each in zip(self._totals, sums, strict=True)]
        self._totals = sums
        self._rows += rows
        self._row_totals.append(row_totals)

    def _complain(self, layers: list[torch.Tensor], rows: list[int], finite: torch.Tensor) -> None:
        line = int((~finite).nonzero()[0, 0])
        layer = next(i for i, v in enumerate(layers) if not bool(v[line].isfinite().all()))
        family = self._model.family
        bad = [row for row, ok in zip(rows, finite.tolist(), strict=True) if not ok]
        where = f"in {family.layers}.{layer}.{family.up.rpartition('.')[0] or family.up}"
        if not self._skip:
            raise UserError(
                f"{self._label}: relevance of reference sample {bad[0]} is not finite {where}: "
                "use model.dtype=float32 or bfloat16, or attribution.nonfinite=skip"
            )
        _log.warning("%s: samples %s are not finite %s: left out", self._label, bad, where)

    def sums(self, start: Sums | None) -> Sums:
        """Everything added so far, and what was there at the start."""
        per_sample = torch.full((self._samples,), torch.nan, dtype=torch.float64)
        done = torch.zeros(self._samples, dtype=torch.bool)
        if not self._rows:  # everything was done before
            assert start is not None, "reference sets are not empty"
            return start
        totals = torch.stack([total.cpu().double() for total in self._totals])
        per_sample[self._rows] = torch.cat([each.cpu().double() for each in self._row_totals])
        done[self._rows] = True
        if start is not None:
            totals = totals + start.totals
            per_sample = torch.where(start.done, start.per_sample, per_sample)
            done = done | start.done
        return Sums(totals, per_sample, done)


def _groups(samples: Sequence[Sequence[int]], rows: Sequence[int], budget: int) -> list[list[int]]:
    groups = token_budget([len(samples[row]) for row in rows], budget)
    return [[rows[index] for index in group] for group in groups]


def _statistic(
    model: Model, compute: Statistic, samples: Sequence[Sequence[int]], rows: list[int]
) -> list[torch.Tensor] | None:
    """The statistic of one batch; None where it does not fit in memory."""
    try:
        return compute(pad_left(samples, model.pad_id, model.device, rows))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    # Outside of `except`, whose traceback keeps the failed pass's tensors alive.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def _smaller(samples: Sequence[Sequence[int]], rows: list[int]) -> int:
    """Half the batch, as a token budget. Raises UserError where one sample does not fit."""
    longest = max(len(samples[row]) for row in rows)
    if len(rows) == 1:
        raise UserError(
            f"out of memory with a single reference sample of {longest} tokens: set "
            "attribution.gradient_checkpointing=true, spread the model with "
            "model.device_map=auto, or shorten the references (attribution.batch_tokens is "
            "already down to one sample)"
        )
    budget = len(rows) // 2 * longest
    _log.warning(
        "out of memory with %d samples of up to %d tokens: going on with "
        "attribution.batch_tokens=%d",
        len(rows),
        longest,
        budget,
    )
    return budget


def accumulate(
    model: Model,
    compute: Statistic,
    samples: Sequence[Sequence[int]],
    config: AttributionConfig,
    *,
    rows: Sequence[int] | None = None,
    start: Sums | None = None,
    keep: Callable[[Sums], None] = lambda _sums: None,
    label: str = "attribution",
    advance: Callable[[int], None] = lambda _count: None,
) -> Sums:
    """Add the statistic `compute` up over `samples` (token ids), or over `rows` of them.

    Totals are float64, so that the order and the size of batches do not matter. `start` are sums
    to go on from; `keep` is handed the sums so far every `config.checkpoint_seconds`;
    `advance(count)` is called as samples are done. On running out of memory the batch is halved.
    Raises UserError for relevance that is not finite (unless `config.nonfinite` is `skip`) and
    where even one sample does not fit in memory.
    """
    chosen = range(len(samples)) if rows is None else rows
    todo = [row for row in chosen if start is None or not bool(start.done[row])]
    advance(len(chosen) - len(todo))
    accumulator = _Accumulator(model, len(samples), config, label)
    queue = deque(_groups(samples, todo, config.batch_tokens))
    kept = time.monotonic()
    while queue:
        batch = queue.popleft()
        statistic = _statistic(model, compute, samples, batch)
        if statistic is None:
            budget = _smaller(samples, batch)
            queue = deque(_groups(samples, [*batch, *chain.from_iterable(queue)], budget))
            continue
        accumulator.add(statistic, batch)
        advance(len(batch))
        if queue and time.monotonic() - kept >= config.checkpoint_seconds:
            keep(accumulator.sums(start))
            kept = time.monotonic()
    return accumulator.sums(start)
