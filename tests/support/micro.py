"""Random tiny models of every supported family, and naive formulas to hold the engine against."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Qwen2Config,
    Qwen3Config,
)

from sparc.models.batching import Batch, pad_left, token_budget
from sparc.models.families import family
from sparc.models.model import Model, blocks_of

LAYERS, NEURONS, VOCABULARY = 3, 48, 50
SAMPLES = [[1, 2, 3, 4, 5, 6, 7], [5, 4, 3], [9, 8, 7, 6, 5, 4, 3, 2, 1, 1], [2]]

_SWIGLU: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": NEURONS,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
}
_CONFIGS: dict[str, Any] = {
    "llama": lambda: LlamaConfig(**_SWIGLU),
    "mistral": lambda: MistralConfig(**_SWIGLU),
    "qwen2": lambda: Qwen2Config(**_SWIGLU),
    "qwen3": lambda: Qwen3Config(**_SWIGLU),
    "gemma3_text": lambda: Gemma3TextConfig(**_SWIGLU),
    "opt": lambda: OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=NEURONS,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        max_position_embeddings=64,
    ),
    "gpt2": lambda: GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=32,
        n_inner=NEURONS,
        n_layer=LAYERS,
        n_head=4,
        n_positions=64,
        bos_token_id=1,
        eos_token_id=2,
    ),
    "gpt_neox": lambda: GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=NEURONS,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        max_position_embeddings=64,
    ),
}
FAMILIES = tuple(_CONFIGS)


def micro_config(name: str) -> Any:
    """The configuration of a micro model of one family."""
    return _CONFIGS[name]()


class _Tokenizer:
    pad_token_id = 0
    eos_token_id = 2


def micro_model(
    name: str, attention: str = "sdpa", *, bias_noise: float = 0.1, network: Any = None
) -> Model:
    """A random model of one family; biases are random too (0 keeps them at their start).

    With `network` that network is taken instead of a random one.
    """
    config = micro_config(name)
    config._attn_implementation = attention
    network = _random_network(config, bias_noise) if network is None else network
    row = family(config.model_type)
    return Model(
        name=name,
        source=name,
        fingerprint=name,
        network=network,
        tokenizer=_Tokenizer(),
        family=row,
        blocks=blocks_of(network, row),
        neurons_per_layer=NEURONS,
        planted=None,
    )


def _random_network(config: Any, bias_noise: float) -> Any:
    generator = torch.Generator().manual_seed(0)
    network = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.15)
            elif key.endswith("bias"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * bias_noise)
    network.requires_grad_(False)
    return network


def naive_row_relevance(model: Model, samples: list[list[int]]) -> torch.Tensor:
    """sum_i w_ji dL/dw_ji of every up row, from whole weight gradients, one sample at a time.

    The target is the largest logit at the last token. Returns [layers, neurons], summed over
    samples. Run it under whatever rules are to be tested.
    """
    total = torch.zeros(len(model.blocks), model.neurons_per_layer, dtype=torch.float64)
    model.network.requires_grad_(True)
    for sample in samples:
        model.network.zero_grad(set_to_none=True)
        logits = model.network(input_ids=torch.tensor([sample]), use_cache=False).logits
        logits[0, -1].max().backward()
        for layer, block in enumerate(model.blocks):
            weight: Any = block.up.weight
            product = weight.detach().double() * weight.grad.double()
            total[layer] += product.sum(0 if model.family.transposed else 1)
    model.network.zero_grad(set_to_none=True)
    model.network.requires_grad_(False)
    return total


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest absolute deviation over the largest absolute expected value."""
    return float((found - expected).abs().max() / expected.abs().max())


def batches(
    sequences: Sequence[Sequence[int]], *, batch_tokens: int, pad_id: int, device: torch.device
) -> Iterator[Batch]:
    """Left-padded batches of at most `batch_tokens` padded tokens that cover all sequences."""
    for rows in token_budget([len(s) for s in sequences], batch_tokens):
        yield pad_left(sequences, pad_id, device, rows)
