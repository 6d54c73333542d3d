"""The reference texts that a run has left in its directory: references.jsonl."""

import json
import shutil
from pathlib import Path
from typing import Any

from sparc.errors import UserError
from sparc.storage.artifacts import read_lines, whole

REFERENCES_FILE = "references.jsonl"


def saved_records(run: str, name: str, seed: int) -> list[dict[str, Any]]:
    """What the run in directory `run` attributed as set `name` with reference seed `seed`.

    Raises UserError for a file that cannot be read and for a seed that the run does not have.
    """
    records = [each for each in _read(Path(run) / REFERENCES_FILE) if each["set"] == name]
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
    path = Path(selection)
    file = (path if path.is_dir() else path.parent) / REFERENCES_FILE
    return [each["text"] for each in _read(file)] if file.is_file() else []


def keep_references(selection: str, folder: Path) -> None:
    """Copy what a saved selection was attributed on to `folder`, where it is there."""
    path = Path(selection)
    file = (path if path.is_dir() else path.parent) / REFERENCES_FILE
    if file.is_file():
        with whole(folder / REFERENCES_FILE) as temporary:
            shutil.copyfile(file, temporary)


def saved_fingerprint(run: str) -> str | None:
    """Which model's token ids the run's references hold; None where it does not say."""
    try:
        results = json.loads((Path(run) / "results.json").read_text(encoding="utf-8"))
        return str(results["model"]["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):  # it did not end well; its texts are whole
        return None


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        records = read_lines(file)
        for record in records:
            _ = record["set"], record["seed"], record["text"], record["token_ids"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{file}: not readable as a run's references ({reason})") from error
    return records
