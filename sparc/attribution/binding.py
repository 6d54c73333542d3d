"""Replacing a method of one module instance, and taking it back without a trace."""

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


def bind(
    stack: contextlib.ExitStack, module: nn.Module, name: str, method: Callable[..., Any]
) -> None:
    """Make `method(module, ...)` the method `name` of this instance until `stack` closes."""
    slot = _slot(module, name)
    missing = object()
    before = module.__dict__.get(slot, missing)
    object.__setattr__(module, slot, types.MethodType(method, module))

    def undo() -> None:
        if before is missing:
            object.__delattr__(module, slot)
        else:
            object.__setattr__(module, slot, before)

    stack.callback(undo)
