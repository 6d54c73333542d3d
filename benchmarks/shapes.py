"""Random models of well-known shapes, and token ids to attribute: nothing is downloaded."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.initialization import no_init_weights

from sparc.models.families import family
from sparc.models.model import Model, blocks_of


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama, and how many tokens a long sample has."""

    hidden: int
    neurons: int
    layers: int
    heads: int
    key_value_heads: int
    vocabulary: int
    tokens: int


SHAPES = {
    "small": Shape(64, 160, 3, 4, 2, 500, 48),
    "scaling": Shape(1024, 2816, 4, 16, 4, 4000, 512),
    "tinyllama-layers": Shape(2048, 5632, 6, 32, 4, 32000, 512),
    "tinyllama-1.1b": Shape(2048, 5632, 22, 32, 4, 32000, 2048),
    "llama3-8b": Shape(4096, 14336, 32, 32, 8, 128256, 2048),
}


class _Tokenizer:
    """Its texts are token ids written as numbers."""

    pad_token_id = 0
    eos_token_id = 0

    def __call__(self, text: str, **_options: Any) -> dict[str, list[int]]:
        return {"input_ids": [int(number) for number in text.split()]}

    def decode(self, ids: Sequence[int], **_options: Any) -> str:
        return " ".join(map(str, ids))


def random_model(shape: Shape, device: torch.device, dtype: torch.dtype, seed: int = 0) -> Model:
    """A Llama of `shape` with normal weights (standard deviation 0.02), the same for a seed."""
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.neurons,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        max_position_embeddings=max(shape.tokens, 2048),
    )
    config._attn_implementation = "sdpa"
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device), no_init_weights():
            network: Any = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
    finally:
        torch.set_default_dtype(before)
    generator = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.02, generator=generator)
            else:
                parameter.fill_(1)
    network.eval().requires_grad_(False)
    row = family("llama")
    return Model(
        name="random",
        source="random",
        fingerprint=f"{shape}, seed {seed}",
        network=network,
        tokenizer=_Tokenizer(),
        family=row,
        blocks=blocks_of(network, row),
        neurons_per_layer=shape.neurons,
        planted=None,
    )


def long_samples(shape: Shape, count: int, tokens: int, seed: int = 1) -> list[list[int]]:
    """`count` random samples of `tokens` token ids each."""
    rng = random.Random(seed)
    return [[rng.randrange(1, shape.vocabulary) for _ in range(tokens)] for _ in range(count)]


def short_prompts(shape: Shape, count: int, seed: int = 2) -> list[list[int]]:
    """`count` random prompts of 8 to 40 token ids."""
    rng = random.Random(seed)
    return [
        [rng.randrange(1, shape.vocabulary) for _ in range(rng.randint(8, 40))]
        for _ in range(count)
    ]
