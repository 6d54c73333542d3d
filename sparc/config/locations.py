"""Where things lie: the packaged configuration, the embedded models, the caches.

No torch here: the configuration is checked before anything heavy is imported.
"""

import os
from pathlib import Path

from sparc.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]
EMBEDDED = "embedded"
EMBEDDED_MODEL = _PACKAGE / "tiny" / "files" / "llama"
EMBEDDED_CLASSIFIER = _PACKAGE / "tiny" / "files" / "classifier"
_FILES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".gz")


def config_folder() -> Path:
    """The Hydra configuration: inside the package in a wheel, beside it in a checkout."""
    packed = _PACKAGE / "conf"
    return packed if packed.is_dir() else _PACKAGE.parent / "conf"


def looks_local(path: str) -> bool:
    """Whether a path that is not there was meant as a local one rather than as a hub id."""
    return path.startswith((".", "/", "~")) or path.count("/") > 1 or path.endswith(_FILES)


def model_folder(path: str) -> str:
    """The folder or hub id that `model.path` names; `embedded` is the model shipped here.

    Raises UserError for a path that looks local and is not a folder.
    """
    if path == EMBEDDED:
        return str(EMBEDDED_MODEL)
    folder = os.path.expanduser(path)
    if os.path.isdir(folder):
        return os.path.realpath(folder)
    if looks_local(path):
        raise UserError(f"model.path={path}: no such folder; give a model folder or a hub id")
    return path
