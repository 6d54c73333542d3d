"""The reference texts that a run has left in its directory: references.jsonl."""

import os
import shutil
from pathlib import Path
from typing import Any

from sparc.errors import UserError
from sparc.runs import Run
from sparc.runs.folder import REFERENCES_FILE, RESULTS_FILE
from sparc.runs.tree import leaf
from sparc.storage.artifacts import whole


def saved_records(run: str, name: str, seed: int) -> list[dict[str, Any]]:
    """What the run in directory `run` attributed as set `name` with reference seed `seed`.

    Raises UserError for a file that cannot be read and for a seed that the run does not have.
    """
    records = [each for each in Run(Path(run)).references if each["set"] == name]
    found = [each for each in records if each["seed"] == seed]
    if not found:
        seeds = sorted({each["seed"] for each in records})
        raise UserError(
            f"dataset.{name}.from_run={run}: holds {name} references of seeds {seeds}, not of "
            f"{seed}; set dataset.reference_seeds to some of those"
        )
    return found


def saved_texts(selection: str | None) -> list[str]:
    """The texts behind a saved selection (a run directory or its neurons.json).

    Empty without a selection, and where no references.jsonl lies with it.
    """
    if selection is None:
        return []
    return [each["text"] for each in Run(_folder(selection)).references]


def keep_references(selection: str, folder: Path) -> None:
    """Copy what a saved selection was attributed on to `folder`, where it is there."""
    file = _folder(selection) / REFERENCES_FILE
    if file.is_file():
        with whole(folder / REFERENCES_FILE) as temporary:
            shutil.copyfile(file, temporary)


def saved_fingerprint(run: str) -> str | None:
    """Which model's token ids the run's references hold; None where it does not say.

    Raises UserError for a results.json that cannot be read.
    """
    folder = Path(run)
    if not os.path.lexists(folder / RESULTS_FILE):  # it was killed; its texts are whole
        return None
    found = leaf(Run(folder).results, "model", "fingerprint")
    return None if found is None else str(found)


def _folder(selection: str) -> Path:
    path = Path(selection)
    return path if path.is_dir() else path.parent
