"""lxt's own way of binding its rules: to the classes of transformers."""

import contextlib
import importlib
from collections.abc import Iterator

from sparc.attribution.lxt_rules import load_lxt


@contextlib.contextmanager
def class_patched() -> Iterator[None]:
    """lxt's own class-level patches of Llama, eager attention."""
    _, patches = load_lxt()
    module = importlib.import_module("transformers.models.llama.modeling_llama")
    before = (
        module.LlamaMLP.forward,
        module.LlamaRMSNorm.forward,
        module.eager_attention_forward,
    )
    assert patches.patch_method(patches.gated_mlp_forward, module.LlamaMLP)
    assert patches.patch_method(patches.rms_norm_forward, module.LlamaRMSNorm)
    module.eager_attention_forward = patches.wrap_attention_forward(before[2])
    try:
        yield
    finally:
        module.LlamaMLP.forward, module.LlamaRMSNorm.forward = before[:2]
        module.eager_attention_forward = before[2]
