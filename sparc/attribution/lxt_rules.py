"""The one place that imports `lxt`, and binds its LRP rules to one model's modules.

The rules (AttnLRP: Achtibat et al., ICML 2024; as gradient x input: Arras et al., 2025) are
lxt's own functions. lxt patches classes for good; here its functions are bound on module
*instances* inside a `with` block, so that no other model in the process is touched and
everything is undone at the end, also after an exception.
"""

import contextlib
import importlib
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from sparc.attribution.binding import bind
from sparc.errors import UserError
from sparc.models.model import Model

_PREFIX = "sparc_"


def _without_model_zoo() -> None:
    """Stand an empty package in for `lxt.efficient.models`.

    lxt 2.1 imports every model file there, which fails with transformers 5 and without
    torchvision; the rules themselves need none of them.
    """
    for name in [name for name in sys.modules if name.startswith("lxt.efficient")]:
        del sys.modules[name]
    import lxt

    stub = types.ModuleType("lxt.efficient.models")
    stub.__path__ = [str(Path(lxt.__file__).parent / "efficient" / "models")]
    stub.get_default_map = None  # type: ignore[attr-defined]
    sys.modules[stub.__name__] = stub


def load_lxt() -> tuple[Any, Any]:
    """lxt's `rules` and `patches` modules.

    Raises UserError where lxt is not installed.
    """
    if importlib.util.find_spec("lxt") is None:
        raise UserError(
            "attribution=lrp needs lxt, which is not installed: run "
            "`pip install --no-deps lxt==2.1` (its own dependencies break torch, leave them out)"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "'zennit' library is not available": not needed
        try:
            importlib.import_module("lxt.efficient")
        except Exception:  # whatever a model file of its zoo stumbles over
            _without_model_zoo()
        rules = importlib.import_module("lxt.efficient.rules")
        patches = importlib.import_module("lxt.efficient.patches")
    return rules, patches


def _gemma_norm(rules: Any) -> Callable[[Any, torch.Tensor], Any]:
    """Gemma's RMSNorm core with the variance as a constant: the identity rule of lxt's norms."""

    def norm(self: Any, x: torch.Tensor) -> Any:
        variance = x.pow(2).mean(-1, keepdim=True)
        return x * rules.stop_gradient(torch.rsqrt(variance + self.eps))

    return norm


def _identity_activation(rules: Any) -> Callable[[Any, torch.Tensor], Any]:
    """The identity rule around an activation module's own forward."""

    def forward(self: Any, x: torch.Tensor) -> Any:
        return rules.identity_rule_implicit(lambda value: type(self).forward(self, value), x)

    return forward


def _bindings(model: Model, variant: str) -> Iterator[tuple[nn.Module, str, Callable[..., Any]]]:
    """(module, method name, rule) for every module that a rule replaces."""
    rules, patches = load_lxt()
    gated = patches.cp_gated_mlp_forward if variant == "cp" else patches.gated_mlp_forward
    for block in model.blocks:
        if block.gate is not None:
            yield block.mlp, "forward", gated
        else:
            yield block.activation, "forward", _identity_activation(rules)
    for module in model.network.modules():
        if isinstance(module, nn.Dropout):
            yield module, "forward", patches.dropout_forward
        elif isinstance(module, nn.LayerNorm):
            yield module, "forward", patches.layer_norm_forward
        elif hasattr(module, "variance_epsilon"):
            yield module, "forward", patches.rms_norm_forward
        elif type(module).__name__ == "Gemma3RMSNorm":
            yield module, "_norm", _gemma_norm(rules)


def _bind_attention(stack: contextlib.ExitStack, model: Model, variant: str) -> None:
    """Wrap the model's attention function under a name of its own, for this block only."""
    _, patches = load_lxt()
    wrap = patches.cp_wrap_attention_forward if variant == "cp" else patches.wrap_attention_forward
    network: Any = model.network
    implementation = network.config._attn_implementation
    if implementation.startswith(_PREFIX):
        raise RuntimeError("LRP rules are bound already: twice would divide gradients twice")
    source = importlib.import_module(type(network).__module__)
    function = (
        source.eager_attention_forward
        if implementation == "eager"
        else ALL_ATTENTION_FUNCTIONS[implementation]
    )
    name = f"{_PREFIX}{variant}_{implementation}_{id(network):x}"
    ALL_ATTENTION_FUNCTIONS[name] = wrap(function)
    stack.callback(lambda: ALL_ATTENTION_FUNCTIONS.pop(name))
    # transformers makes no mask at all for a name outside the mask registry's class-wide mapping:
    # a local entry would leave padded positions visible, without a word.
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[implementation])
    stack.callback(lambda: AttentionMaskInterface._global_mapping.pop(name))
    network.set_attn_implementation(name)
    stack.callback(lambda: network.set_attn_implementation(implementation))


@contextlib.contextmanager
def lrp_rules(model: Model, variant: str = "attnlrp") -> Iterator[None]:
    """Inside the block, gradient x input of `model` is LRP relevance.

    variant: `attnlrp` (uniform rule at the softmax's products) or `cp` (attention weights and
    gates as constants). Logits do not change. Raises UserError where lxt is missing.
    """
    with contextlib.ExitStack() as stack:
        for module, name, rule in list(_bindings(model, variant)):
            bind(stack, module, name, rule)
        _bind_attention(stack, model, variant)
        yield
