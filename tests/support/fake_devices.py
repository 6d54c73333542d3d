"""GPUs for a machine that has none: real numbers, and torch's errors where devices meet.

A tensor "on cuda:1" is a wrapper that says so and holds its numbers on the CPU. Each operation
refuses what CUDA refuses (operands on different devices, a tensor of the CPU with dimensions beside
one of a GPU, `.numpy()`), computes on the CPU and marks what it finds. Autograd works, under
accelerate's own hooks.

To C++ the wrapper is on an index of the CPU that nothing else uses (`cpu:2` for `cuda:1`), because
the autograd of a build without CUDA ends the process for a CUDA tensor; Python code, which sees
`tensor.device`, takes the branches of a GPU. What this cannot see: kernels, their rounding, memory
and streams.
"""

import contextlib
import linecache
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import sparc

aten = torch.ops.aten
FIRST, SECOND = torch.device("cuda", 0), torch.device("cuda", 1)
waits: Counter[str] = Counter()
"""Line of sparc's code -> how often the host waited for a device there, or in what it calls."""

_HOSTS = {torch.device("cpu", 1): FIRST, torch.device("cpu", 2): SECOND}
INSIDE = {shown: host for host, shown in _HOSTS.items()}
# Between devices on purpose; and indices may lie on the CPU, which copies them first.
_BETWEEN = (aten._to_copy.default, aten.copy_.default)
_INDEXING = (aten.index.Tensor, aten.index_put_.default, aten.index_put.default)
# The host needs the answer before it can go on.
_ASKING = (
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.equal.default,
    aten.masked_select.default,
    aten._unique2.default,
)


class Placed(torch.Tensor):
    """Numbers on the CPU that claim to be on a GPU."""

    numbers: torch.Tensor
    host: torch.device
    """The device that C++ sees."""
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, numbers: torch.Tensor, host: torch.device) -> "Placed":
        made: Any = torch.Tensor._make_wrapper_subclass(
            cls,
            numbers.shape,
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            device=host,
        )
        made.numbers, made.host = numbers, host
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return _HOSTS[self.host]

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert cuda tensor to numpy: use .cpu() first")

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    def __repr__(self, **_: Any) -> str:
        return f"Placed({self.numbers}, {self.device})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with (
            torch._C.DisableTorchFunction()
        ):  # `_Calls` has seen it: do not ask for each size again
            return _run(func, args, kwargs or {})


class _Calls(TorchFunctionMode):
    """What must be seen before C++ does: names of devices, and what C++ does by itself."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.device:
            return func(*args, **(kwargs or {}))
        args, kwargs = _each(_hidden, args), _each(_hidden, kwargs or {})
        if func in (torch.Tensor.backward, torch.autograd.backward):
            with self:  # hooks call torch, too
                return _backward(*args, **kwargs)
        if func is torch.nn.functional.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") in _HOSTS:
            device = kwargs.pop("device")
            return func(*args, **kwargs).to(device)
        if func is torch.Tensor.__getitem__ and isinstance(args[0], Placed):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            lists = tuple(torch.tensor(each) if isinstance(each, list) else each for each in index)
            return func(args[0], lists)
        return func(*args, **kwargs)


@contextlib.contextmanager
def machine() -> Iterator[None]:
    """Inside the block there are two GPUs."""
    with _Calls(), _Operations():
        yield


def _each(change: Callable[[Any], Any], value: Any) -> Any:
    """`value` with all in its lists, tuples and dicts changed: torch's tree_map, ten times faster.

    Other classes, named tuples among them, are neither given to torch's operations nor made there.
    """
    kind = type(value)
    if kind is tuple:
        return tuple([_each(change, part) for part in value])
    if kind is list:
        return [_each(change, part) for part in value]
    if kind is dict:
        return {key: _each(change, part) for key, part in value.items()}
    return change(value)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part)


def _hidden(value: Any) -> Any:
    """A device as C++ is to see it."""
    if isinstance(value, str) and value.startswith("cuda"):
        value = torch.device(value)
    if isinstance(value, torch.device) and value.type == "cuda":
        return INSIDE[torch.device("cuda", value.index or 0)]
    return value


def _plain(value: Any) -> Any:
    return value.numbers if isinstance(value, Placed) else value


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [*_tensors(args), *_tensors(list(kwargs.values()))]
    placed = [each for each in tensors if isinstance(each, Placed)]
    asked = kwargs.get("device")
    goal = asked if asked is not None else placed[0].host if placed else None
    if func is aten.copy_.default:
        goal = args[0].host if isinstance(args[0], Placed) else None
    _refuse_mixed(func, args, tensors, placed, asked)
    if placed or goal in _HOSTS:
        _count_waits(func, args, kwargs, tensors, goal)
    if asked in _HOSTS:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    found = func(*_each(_plain, args), **_each(_plain, kwargs))
    if func is aten._to_copy.default and found is _plain(args[0]):
        found = found.clone()
    given = {id(each.numbers): each for each in placed}

    def marked(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or goal not in _HOSTS:
            return value
        # operations in place and `out=` give back what they were given
        return given[id(value)] if id(value) in given else Placed(value, goal)

    return _each(marked, found)


def _refuse_mixed(
    func: Any, args: Any, tensors: list[Any], placed: list[Placed], asked: Any
) -> None:
    if func in _BETWEEN:
        return
    devices = {each.device for each in placed}
    if len(devices) > 1:
        raise RuntimeError(f"{func}: tensors on different devices, {sorted(map(str, devices))}")
    outside = [each for each in tensors if not isinstance(each, Placed) and each.ndim > 0]
    if func in _INDEXING and isinstance(args[0], Placed):
        outside = []
    if devices and outside and asked is None:
        raise RuntimeError(f"{func}: a tensor on the CPU beside one on {devices.pop()}")


def _count_waits(func: Any, args: Any, kwargs: Any, tensors: list[Any], goal: Any) -> None:
    """Copies between host and device are waited for unless asked otherwise, answers always.

    Nothing is copied of empty tensors, and operands without dimensions go along with the kernel.
    """
    copied = [each for each in tensors if each.numel() and (each.ndim or func in _BETWEEN)]
    across = any(not isinstance(each, Placed) for each in copied)
    across |= func is aten._to_copy.default and goal not in _HOSTS and bool(copied)
    masked = func in _INDEXING and any(
        each is not None and each.dtype == torch.bool for each in args[1]
    )
    at_once = kwargs.get("non_blocking") or (func is aten.copy_.default and args[2:] == (True,))
    if func in _ASKING or masked or (across and not at_once):
        waits[_place()] += 1


def _place() -> str:
    """The innermost line of sparc's; of a call over several lines the first."""
    frame, ours = sys._getframe(1), str(Path(sparc.__file__).parent)
    while frame.f_back and not frame.f_code.co_filename.startswith(ours):
        frame = frame.f_back
    file = frame.f_code.co_filename
    return f"{Path(file).name}: {linecache.getline(file, frame.f_lineno).strip()}"


def _backward(tensors: Any, gradients: Any = None, *, grad_tensors: Any = None, **_: Any) -> None:
    """As torch's, whose own Python part would come back here. Reentrant checkpoints name theirs."""
    tensors = (tensors,) if isinstance(tensors, torch.Tensor) else tuple(tensors)
    gradients = gradients if grad_tensors is None else grad_tensors
    gradients = (gradients,) if isinstance(gradients, torch.Tensor) else gradients
    torch.autograd.Variable._execution_engine.run_backward(
        tensors,
        tuple(gradients or map(torch.ones_like, tensors)),
        *(False, False, ()),
        allow_unreachable=True,
        accumulate_grad=True,
    )


def _attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """As torch's: which kernel it takes is decided in C++, by the device that C++ sees."""
    if enable_gqa:
        key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
    weights = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        here = torch.ones_like(weights, dtype=torch.bool).tril()
        weights = weights.masked_fill(~here, -torch.inf)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        weights = weights.masked_fill(~attn_mask, torch.finfo(weights.dtype).min)
    elif attn_mask is not None:
        weights = weights + attn_mask
    return weights.softmax(-1) @ value
