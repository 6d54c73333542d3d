"""The algorithm of the earlier reproduction, written out to compare with.

For every sample one backward pass from the largest logit of the last token, with gradients of
all linear weights; |w * gradient| of each is moved to the CPU in float32 and added up. The rules
are lxt's, patched on the classes. A neuron's score is its row's sum in `up_proj`.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from transformers.modeling_utils import AttentionInterface
from transformers.models.llama import modeling_llama

from sparc.attribution.lxt_rules import load_lxt


@contextlib.contextmanager
def patched_classes() -> Iterator[None]:
    """Inside the block transformers' Llama classes follow lxt's AttnLRP rules.

    As `lxt.efficient.monkey_patch` makes them do, whose attention patch is a plain dict that
    transformers 5 does not take.
    """
    llama: Any = modeling_llama
    _, patches = load_lxt()
    functions: Any = AttentionInterface()  # type: ignore[no-untyped-call]
    for name, function in llama.ALL_ATTENTION_FUNCTIONS.items():
        if function is not None:
            functions[name] = patches.wrap_attention_forward(function)
    changes: list[tuple[Any, str, Any]] = [
        (llama.LlamaMLP, "forward", patches.gated_mlp_forward),
        (llama.LlamaRMSNorm, "forward", patches.rms_norm_forward),
        (llama, "ALL_ATTENTION_FUNCTIONS", functions),
    ]
    before = [getattr(owner, name) for owner, name, _ in changes]
    for owner, name, value in changes:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for (owner, name, _), value in zip(changes, before, strict=True):
            setattr(owner, name, value)


def weight_relevance(
    network: Any, samples: Sequence[Sequence[int]], device: torch.device, *, all_logits: bool
) -> dict[str, torch.Tensor]:
    """Sum over samples of |w * dL/dw| of every linear layer, float32 on the CPU, by its name.

    all_logits: logits of every position, as the reproduction asked for, or of the last one only.
    """
    linear = {n: m for n, m in network.named_modules() if isinstance(m, nn.Linear)}
    totals: dict[str, torch.Tensor] = {}
    for module in linear.values():
        module.weight.requires_grad_(True)
    for sample in samples:
        ids = torch.tensor([sample], device=device)
        keep = 0 if all_logits else 1
        logits = network(input_ids=ids, use_cache=False, logits_to_keep=keep).logits
        logits[0, -1].max().backward()
        del logits
        for name, module in linear.items():
            gradient: Any = module.weight.grad
            relevance = (module.weight.detach() * gradient).abs_().float().cpu()
            totals[name] = totals[name].add_(relevance) if name in totals else relevance
        network.zero_grad(set_to_none=True)
    for module in linear.values():
        module.weight.requires_grad_(False)
    return totals


def up_rows(totals: dict[str, torch.Tensor], layers: int, samples: int) -> torch.Tensor:
    """Mean over samples of each neuron's row of `up_proj`, [layers, neurons] float64."""
    names = [f"model.layers.{layer}.mlp.up_proj" for layer in range(layers)]
    return torch.stack([totals[name].double().sum(1) for name in names]) / samples
