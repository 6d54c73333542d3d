"""Where things lie: the packaged configuration, the embedded models, the caches.

No torch here: the configuration is checked before anything heavy is imported.
"""

from pathlib import Path

from sparc.errors import UserError

_PACKAGE = Path(__file__).resolve().parent
EMBEDDED = "embedded"
EMBEDDED_MODEL = _PACKAGE / "tiny" / "files" / "llama"
EMBEDDED_CLASSIFIER = _PACKAGE / "tiny" / "files" / "classifier"


def config_folder() -> Path:
    """The Hydra configuration: inside the package in a wheel, beside it in a checkout."""
    packed = _PACKAGE / "conf"
    return packed if packed.is_dir() else _PACKAGE.parent / "conf"


def model_folder(path: str) -> str:
    """The folder or hub id that `model.path` names; `embedded` is the model shipped here.

    Raises UserError for a path that looks local and is not a folder.
    """
    if path == EMBEDDED:
        return str(EMBEDDED_MODEL)
    looks_local = path.startswith((".", "/", "~")) or path.count("/") > 1
    folder = Path(path).expanduser()
    if folder.is_dir():
        return str(folder.resolve())
    if looks_local:
        raise UserError(f"model.path={path}: no such folder; give a model folder or a hub id")
    return path
