"""Untrained tiny models: the embedded Llama's shape, and the same in other families."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
)

PAD, BOS, EOS, UNK = range(4)
SPECIAL_TOKENS = ["<pad>", "<bos>", "<eos>", "<unk>"]
CONTEXT = 256


@dataclass(frozen=True)
class ModelSize:
    """Shape of the stage-1 model; `neurons` is the number of hidden neurons of each layer.

    key_value_heads: of families that share them between heads. family: `model_type` of its
    configuration, one of llama, opt and gpt2.
    """

    hidden: int = 96
    neurons: int = 768
    layers: int = 3
    heads: int = 4
    key_value_heads: int = 2
    family: str = "llama"


_TOKENS: Mapping[str, Any] = {
    "bos_token_id": BOS,
    "eos_token_id": EOS,
    "pad_token_id": PAD,
    "tie_word_embeddings": True,
}


def _llama(vocabulary_size: int, size: ModelSize) -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=size.hidden,
        intermediate_size=size.neurons,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_value_heads,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-5,
        **_TOKENS,
    )
    return LlamaForCausalLM(config)  # type: ignore[no-untyped-call]


def _opt(vocabulary_size: int, size: ModelSize) -> PreTrainedModel:
    config = OPTConfig(
        vocab_size=vocabulary_size,
        hidden_size=size.hidden,
        word_embed_proj_dim=size.hidden,
        ffn_dim=size.neurons,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        max_position_embeddings=CONTEXT,
        dropout=0.0,
        **_TOKENS,
    )
    return OPTForCausalLM(config)  # type: ignore[no-untyped-call]


def _gpt2(vocabulary_size: int, size: ModelSize) -> PreTrainedModel:
    config = GPT2Config(
        vocab_size=vocabulary_size,
        n_embd=size.hidden,
        n_inner=size.neurons,
        n_layer=size.layers,
        n_head=size.heads,
        n_positions=CONTEXT,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        **_TOKENS,
    )
    return GPT2LMHeadModel(config)  # type: ignore[no-untyped-call]


_SHAPES: Mapping[str, Callable[[int, ModelSize], PreTrainedModel]] = {
    "llama": _llama,
    "opt": _opt,
    "gpt2": _gpt2,
}
WIDTHS: Mapping[str, str] = {"llama": "intermediate_size", "opt": "ffn_dim", "gpt2": "n_inner"}
"""The name of the number of hidden neurons in each family's configuration."""


def build_model(vocabulary_size: int, size: ModelSize, seed: int) -> PreTrainedModel:
    """A randomly initialised model of the given size, in float32."""
    torch.manual_seed(seed)
    return _SHAPES[size.family](vocabulary_size, size)
