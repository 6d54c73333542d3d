"""A model on one or on two make-believe GPUs, as it would lie on real ones."""

import torch
from accelerate import dispatch_model

from sparc.models.model import Model
from tests.support.fake_devices import FIRST, INSIDE, SECOND, Placed


def on_one(model: Model) -> None:
    """Put the whole model on the first GPU."""
    _put(model.network, FIRST)


def on_two(model: Model) -> None:
    """Half of the layers, the last norm and an untied head on the second GPU, by accelerate."""
    network, row = model.network, model.family
    names = {id(module): name for name, module in network.named_modules()}
    layers, head = network.get_submodule(row.layers), network.get_output_embeddings()
    decoder = network.get_submodule(row.layers.rpartition(".")[0])
    tied = head.weight is network.get_input_embeddings().weight
    where = {names[id(head)]: FIRST if tied else SECOND}
    for name, child in decoder.named_children():
        if child is not layers:
            last = "norm" in name or name == "ln_f"
            where[names[id(child)]] = SECOND if last else FIRST
    for number, layer in enumerate(layers):
        where[names[id(layer)]] = SECOND if number >= len(layers) // 2 else FIRST
    for name, device in where.items():
        _put(network.get_submodule(name), device)
    dispatch_model(network, where, main_device=FIRST)


def _put(module: torch.nn.Module, device: torch.device) -> None:
    """Parameters and buffers of `module` that are still on the CPU; ties stay ties."""
    moved: dict[int, torch.Tensor] = {}
    for each in module.modules():
        for store in (each._parameters, each._buffers):
            for name, value in store.items():
                if value is not None and not isinstance(value, Placed):
                    new = moved.setdefault(id(value), Placed(value.detach(), INSIDE[device]))
                    own = store is each._parameters
                    store[name] = torch.nn.Parameter(new, requires_grad=False) if own else new
