"""A selection that another run has saved."""

import json
from pathlib import Path
from typing import Any

from sparc.errors import UserError
from sparc.models.fingerprint import is_model
from sparc.models.model import Model
from sparc.pruning.selection import Neuron
from sparc.reference_files import saved_fingerprint


def read_selection(path: str | Path, model: Model) -> list[Neuron]:
    """The neurons of a neurons.json, or of the run directory that holds one, in its order.

    Raises UserError for a file that is missing or no such list, and for neurons that are not the
    model's or listed twice.
    """
    file = Path(path)
    file = file / "neurons.json" if file.is_dir() else file
    selection: list[Neuron] = []
    seen: set[Neuron] = set()
    for place, entry in enumerate(_entries(file)):
        neuron = _neuron(entry)
        if neuron is None:
            raise UserError(
                f'{file}: entry {place} must be {{"layer": whole number, "index": whole number}}'
            )
        if neuron in seen:
            raise UserError(f"{file}: entry {place} lists neuron {neuron} a second time")
        layer, index = neuron
        if not (0 <= layer < len(model.blocks) and 0 <= index < model.neurons_per_layer):
            raise UserError(
                f"{file}: entry {place} is neuron {neuron}, but {model.name} has "
                f"{len(model.blocks)} layers of {model.neurons_per_layer} neurons; was it saved "
                "for another model?"
            )
        seen.add(neuron)
        selection.append(neuron)
    return selection


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
    try:
        results = json.loads((Path(path) / "results.json").read_text(encoding="utf-8"))
        chosen = results["selection"]
        source |= {key: results["run"][key] for key in ("name", "config_hash")}
        # of the run that chose the neurons, not of one that measured them again
        source["method"] = chosen.get("source", {}).get("method", chosen["method"])
    except (OSError, ValueError, KeyError, TypeError):
        return source  # a bare list of neurons
    return source


def _entries(file: Path) -> list[Any]:
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"pruning.path={file}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{file}: not JSON ({error})") from error
    if not isinstance(entries, list):
        raise UserError(f"{file}: must be a list of neurons, as a run's neurons.json is")
    return entries


def _neuron(entry: Any) -> Neuron | None:
    if not isinstance(entry, dict):
        return None
    layer, index = entry.get("layer"), entry.get("index")
    # bool is an int, but true is no layer
    if type(layer) is not int or type(index) is not int:
        return None
    return layer, index
