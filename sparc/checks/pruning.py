"""Whether a model has what is to be removed."""

import os
from collections.abc import Iterator
from pathlib import Path

from sparc.config import RESERVED_PRUNING, Config, PruningConfig
from sparc.config.locations import model_folder
from sparc.models.families import family, neuron_grid
from sparc.models.folders import read_config
from sparc.runs.folder import neurons_file, read_neurons


def pruning_complaints(config: Config) -> Iterator[str]:
    pruning = config.pruning
    if pruning.method == "from_file":
        if pruning.path is None:
            yield "pruning.path is not set: add pruning.path=, a neurons.json or a run directory"
        elif not (os.path.isfile(pruning.path) or os.path.isdir(pruning.path)):
            yield f"pruning.path={pruning.path}: no such neurons.json or run directory"
        else:
            read_neurons(neurons_file(pruning.path))  # its complaints are its own
    if pruning.method != "from_file" and pruning.path is not None:
        yield f"pruning.path={pruning.path}: pruning={pruning.method} reads none; use from_file"
    if pruning.method in RESERVED_PRUNING:
        yield f"pruning={pruning.method}: reserved, not implemented yet; use pruning=neurons"
    if any(amount < 0 for amount in pruning.curve):
        yield f"pruning.curve={pruning.curve}: must not hold negative numbers"
    if pruning.curve and pruning.method == "from_file":
        yield "pruning.curve: a saved selection is one amount; leave pruning.curve out"
    folder = Path(model_folder(config.model.path))
    if not folder.is_dir():  # a hub id
        return
    stated = read_config(folder, f"model.path={config.model.path}")
    row, grid = family(stated["model_type"]), neuron_grid(stated)
    if config.attribution.projection == "gate" and row.gate is None:
        yield "attribution.projection=gate: this model's MLP has no gate; use projection=up"
    if grid is not None:
        yield from amount_complaints(pruning, *grid)


def amount_complaints(pruning: PruningConfig, num_layers: int, neurons: int) -> Iterator[str]:
    """What a model of `num_layers` layers of `neurons` neurons each cannot give."""
    layers = range(num_layers) if pruning.layers is None else pruning.layers
    wrong = [layer for layer in layers if not 0 <= layer < num_layers]
    if wrong:
        yield f"pruning.layers={pruning.layers}: the model has layers 0 to {num_layers - 1}"
    available = len(set(layers)) * neurons
    if pruning.num_neurons > available:
        yield f"pruning.num_neurons={pruning.num_neurons}: only {available} neurons to choose from"
    if any(amount > available for amount in pruning.curve):
        yield f"pruning.curve={pruning.curve}: only {available} neurons to choose from"
