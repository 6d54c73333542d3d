"""A selection that another run has saved."""

import os
from pathlib import Path
from typing import Any

from sparc.components.neurons import chosen
from sparc.components.selection import Selection
from sparc.errors import UserError
from sparc.models.fingerprint import is_model
from sparc.models.model import Model
from sparc.runs import Run
from sparc.runs.folder import RESULTS_FILE, neurons_file, read_neurons
from sparc.runs.references import saved_fingerprint
from sparc.runs.tree import leaf


def read_selection(path: str | Path, model: Model) -> Selection:
    """The neurons of a neurons.json, or of the run directory that holds one, in its order.

    Raises UserError for a file that is missing or no such list, and for neurons that are not the
    model's or listed twice.
    """
    file = neurons_file(path)
    neurons = [(each["layer"], each["index"]) for each in read_neurons(file)]
    for place, (layer, index) in enumerate(neurons):
        if layer >= len(model.blocks) or index >= model.neurons_per_layer:
            raise UserError(
                f"{file}: neurons[{place}] is neuron {(layer, index)}, but {model.name} has "
                f"{len(model.blocks)} layers of {model.neurons_per_layer} neurons; was it saved "
                "for another model?"
            )
    return chosen(model, neurons)


def refuse_other_model(run: str, model: Model) -> None:
    """Raise UserError where the run in directory `run` says that its model was another one."""
    saved = saved_fingerprint(run)
    if saved is not None and not is_model(saved, model.fingerprint, model.source):
        raise UserError(
            f"run={run}: its neurons are those of another model ({saved[:20]}, not "
            f"{model.fingerprint[:20]} of {model.source}); leave model= out"
        )


def origin(path: str) -> dict[str, Any]:
    """`path` of a saved selection; of a run's directory also its name, config_hash and method."""
    source: dict[str, Any] = {"path": path}
    if not os.path.lexists(Path(path) / RESULTS_FILE):
        return source  # a bare list of neurons
    results = Run(Path(path)).results
    chosen, run = results.get("selection"), results.get("run", {})
    if chosen:
        source |= {key: run.get(key) for key in ("name", "config_hash")}
        # of the run that chose the neurons, not of one that measured them again
        source["method"] = leaf(chosen, "source", "method") or chosen["method"]
    return source
