"""The circuit that a finished run has found, read from its directory."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from sparc.circuits.files import CONTRAST_FILE, read_contrast
from sparc.circuits.overlap import Selection
from sparc.errors import UserError
from sparc.models.fingerprint import is_older


@dataclass(frozen=True)
class Circuit:
    """A run's selection and, where the run ranked neurons itself, its contrast.

    layers: those among which the run chose. contrast: [model layers, width] or None.
    """

    folder: Path
    name: str
    method: str
    fingerprint: str
    layers: tuple[int, ...]
    width: int
    selection: Selection
    contrast: NDArray[np.float64] | None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror or error}; give directories of finished runs"
        ) from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from error


def _chosen_layers(folder: Path, layers: int) -> tuple[int, ...]:
    file = folder / ".hydra" / "config.yaml"
    limited = OmegaConf.select(OmegaConf.load(file), "pruning.layers") if file.is_file() else None
    return tuple(range(layers)) if limited is None else tuple(limited)


def read_circuit(folder: Path) -> Circuit:
    """Read the run in `folder`. Raises UserError where there is no finished run."""
    results = _json(folder / "results.json")
    if not isinstance(results, dict) or "selection" not in results:
        status = results.get("status") if isinstance(results, dict) else None
        raise UserError(
            f"{folder}: selected no neurons ({status or 'not a run'}); give finished runs"
        )
    layers = len(results["selection"]["per_layer"])
    contrast = folder / CONTRAST_FILE
    return Circuit(
        folder=folder,
        name=results["run"]["name"],
        method=results["selection"]["method"],
        fingerprint=results["model"]["fingerprint"],
        layers=_chosen_layers(folder, layers),
        width=results["model"]["neurons"] // layers,
        selection=frozenset(
            (entry["layer"], entry["index"]) for entry in _json(folder / "neurons.json")
        ),
        contrast=read_contrast(contrast).numpy() if contrast.is_file() else None,
    )


def read_circuits(folders: Sequence[Path]) -> list[Circuit]:
    """Read runs that can be compared: two or more, different ones, of one model.

    Raises UserError otherwise.
    """
    if len({folder.resolve() for folder in folders}) < max(len(folders), 2):
        raise UserError("give two or more different run directories to compare")
    circuits = [read_circuit(folder) for folder in folders]
    first = circuits[0]
    for other in circuits[1:]:
        for older, newer in ((first, other), (other, first)):
            if not is_older(older.fingerprint, newer.fingerprint):
                continue
            raise UserError(
                f"{older.folder} was saved by an older version, which knew its model by less: "
                f"measure it again (sparc stage=evaluate run={older.folder}) and compare that run"
            )
        if other.fingerprint != first.fingerprint:
            raise UserError(
                f"{first.folder} and {other.folder} are runs of different models "
                f"({first.fingerprint[:20]} and {other.fingerprint[:20]}): their neurons have "
                "nothing to do with each other; compare runs of one model"
            )
    return circuits
