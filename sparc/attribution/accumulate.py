"""Adding a method's statistic up over the samples of one reference set."""

from collections.abc import Callable, Sequence

import torch

from sparc.attribution.method import Method
from sparc.batching import batches
from sparc.errors import UserError
from sparc.models import Model
from sparc.scores import Scores


def _check_finite(statistic: list[torch.Tensor], rows: list[int]) -> None:
    for layer, values in enumerate(statistic):
        bad = ~values.isfinite().all(1)
        if bool(bad.any()):
            sample = rows[int(bad.nonzero()[0, 0])]
            raise UserError(
                f"relevance of reference sample {sample} is not finite in layer {layer}: "
                "use model.dtype=float32 or bfloat16, or remove that sample"
            )


def accumulate(
    model: Model,
    method: Method,
    samples: Sequence[Sequence[int]],
    *,
    batch_tokens: int,
    advance: Callable[[int], None] = lambda _count: None,
) -> Scores:
    """Scores of every neuron over one reference set.

    samples: token ids of each reference text. The total is kept in float64, so that the order
    and the size of batches do not matter; `advance(count)` is called as samples are done.
    Raises UserError for relevance that is not finite.
    """
    totals: torch.Tensor | None = None
    per_sample = torch.zeros(len(samples), dtype=torch.float64)
    for batch in batches(
        samples, batch_tokens=batch_tokens, pad_id=model.pad_id, device=model.device
    ):
        statistic = method.statistic(batch)
        _check_finite(statistic, batch.rows)
        sums = torch.stack([values.double().sum(0).cpu() for values in statistic])
        totals = sums if totals is None else totals + sums
        by_layer = torch.stack([values.double().sum(1).cpu() for values in statistic])
        per_sample[batch.rows] = by_layer.sum(0)
        advance(len(batch.rows))
    assert totals is not None, "an empty reference set is refused when references are made"
    return Scores(method.scores(totals, len(samples)), len(samples), per_sample)
