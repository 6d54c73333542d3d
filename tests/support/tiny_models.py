"""Small random causal models and a word tokenizer, made in memory: nothing is loaded."""

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedTokenizerFast,
)

from sparc.models.families import FAMILIES
from sparc.models.model import Model

WORDS = [f"w{number}" for number in range(60)]
SPECIAL = ["<pad>", "<bos>", "<eos>", "<unk>"]
VOCABULARY = len(SPECIAL) + len(WORDS)
CONTEXT = 64
IDS: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def tiny_model(network: Any, tokenizer: Any) -> Model:
    """A network and its tokenizer as completions and perplexity take them."""
    row = FAMILIES["llama"]
    return Model("tiny", "tiny", "tiny", network, tokenizer, row, (), 0, None)


def tiny_tokenizer(*, bos: bool = True, pad: bool = True) -> PreTrainedTokenizerFast:
    """Words ``w0`` to ``w59`` between spaces (ids 4 to 63); `bos` leads a text unless False."""
    vocabulary = {word: number for number, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"eos_token": "<eos>", "unk_token": "<unk>"}
    if bos:
        names["bos_token"] = "<bos>"
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", 1)]
        )
    if pad:
        names["pad_token"] = "<pad>"
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def tiny_llama(seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    """Two layers of 48 neurons, hidden size 32."""
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
    }
    torch.manual_seed(seed)
    return spread(LlamaForCausalLM(LlamaConfig(**IDS, **(sizes | changes))))


def tiny_opt(seed: int = 0, **changes: Any) -> OPTForCausalLM:
    """Two layers of 48 neurons, hidden size 32, embeddings of 16 (so with projections)."""
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "word_embed_proj_dim": 16,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": CONTEXT,
    }
    torch.manual_seed(seed)
    return spread(OPTForCausalLM(OPTConfig(**IDS, **(sizes | changes))))


def tiny_gpt2(seed: int = 0, **changes: Any) -> GPT2LMHeadModel:
    """Two layers of 48 neurons, hidden size 32."""
    sizes = {
        "vocab_size": VOCABULARY,
        "n_embd": 32,
        "n_inner": 48,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": CONTEXT,
    }
    torch.manual_seed(seed)
    return spread(GPT2LMHeadModel(GPT2Config(**IDS, **(sizes | changes))))


def spread(model: Any) -> Any:
    """Make random weights larger, so that the model prefers some tokens clearly to others."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(6)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()
