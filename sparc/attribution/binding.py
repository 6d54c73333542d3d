"""Replacing what one module instance has, and taking it back without a trace."""

import contextlib
import types
from collections.abc import Callable
from typing import Any

from torch import nn


def _slot(module: nn.Module, name: str) -> str:
    # accelerate's offload hooks replace `forward` and keep the module's own as `_old_forward`:
    # what is bound must go underneath them, or it would be overridden without a sound, and would
    # not see the weights, which are there only while the hooked forward runs.
    return "_old_forward" if name == "forward" and hasattr(module, "_hf_hook") else name


def current(module: nn.Module, name: str) -> Callable[..., Any]:
    """The method that `bind` would replace, bound to `module`."""
    method: Callable[..., Any] = getattr(module, _slot(module, name))
    return method


def put(stack: contextlib.ExitStack, module: nn.Module, name: str, value: Any) -> None:
    """Set an attribute of this instance, past torch's own bookkeeping, until `stack` closes."""
    missing = object()
    before = vars(module).get(name, missing)
    object.__setattr__(module, name, value)
    if before is missing:
        stack.callback(object.__delattr__, module, name)
    else:
        stack.callback(object.__setattr__, module, name, before)


def bind(
    stack: contextlib.ExitStack, module: nn.Module, name: str, method: Callable[..., Any]
) -> None:
    """Make `method(module, ...)` the method `name` of this instance until `stack` closes."""
    put(stack, module, _slot(module, name), types.MethodType(method, module))
