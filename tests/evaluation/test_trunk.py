"""A model split before its logits: where it is, and where whole logits are taken instead."""

from typing import Any

import pytest
import torch

from sparc.evaluation.perplexity import trunk_and_head
from sparc.generation.inference import evaluating
from tests.support.micro import FAMILIES, VOCABULARY, micro_model

IDS = list(range(5, 13))


def is_split(network: Any) -> bool:
    ids = torch.tensor([IDS])
    with evaluating(network):
        trunk, _ = trunk_and_head(network, IDS)
        return trunk(ids, torch.ones_like(ids), 4).shape[-1] != VOCABULARY


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_split(family: str, dtype: torch.dtype) -> None:
    assert is_split(micro_model(family).network.to(dtype))


@pytest.mark.parametrize(
    ("factor", "split"),
    [(1 + 2e-6, True), (1 + 1e-4, False), (torch.nan, False)],
    ids=["rounded otherwise", "scaled", "not finite"],
)
def test_rounding_is_no_difference(factor: float, split: bool) -> None:
    """2e-6 is more than float32's sums over 30000 neurons differ by in another order."""
    network = micro_model("llama").network

    def hook(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return output * factor if output.shape[1] < len(IDS) else output

    network.get_output_embeddings().register_forward_hook(hook)
    assert is_split(network) is split
