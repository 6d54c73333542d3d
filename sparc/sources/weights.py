"""Which files of a model's repository or folder are read; no torch, no library."""

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from sparc.errors import UserError

_WHOLE = ("model.safetensors", "pytorch_model.bin")  # as the library prefers them
WEIGHTS = (".safetensors", ".bin")  # how they end, also in parts
# A model's own files at the root of its repository; not weights of other frameworks.
_SMALL = (".json", ".txt", ".model", ".jinja", ".tiktoken")


def needed(names: Iterable[str]) -> list[str]:
    """The files of a model's repository that loading it reads, of all its files' `names`."""
    roots = [name for name in names if "/" not in name]
    kept = {name for name in roots if name.endswith(_SMALL)}
    for whole in _WHOLE:
        start, end = whole.split(".")
        weights = {name for name in roots if name.startswith(start) and name.endswith(f".{end}")}
        if weights:
            # the other format's list of parts would be taken for a promise of those parts
            lists = {f"{other}.index.json" for other in _WHOLE if other != whole}
            return sorted((kept | weights) - lists)
    return sorted(kept)


def weight_files(folder: Path, where: str) -> list[str]:
    """Names of the weight files that the library loads from `folder`: one, or those of an index.

    Raises UserError for an index that cannot be read or names a file outside the folder. Links
    are followed: an owner may put the bytes elsewhere, as the hub's own cache does.
    """
    both = [name for whole in _WHOLE for name in (whole, f"{whole}.index.json")]
    names = [each for each in both if (folder / each).is_file()]
    if not names or names[0] in _WHOLE:
        return names[:1]  # without any the library says so
    try:
        named = json.loads((folder / names[0]).read_text(encoding="utf-8"))["weight_map"].values()
        parts = sorted({str(each) for each in named})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{where}: {names[0]} is no index of weight files ({type(error).__name__})"
        ) from error
    for part in parts:
        path = PurePosixPath(part)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in part:
            raise UserError(f"{where}: {names[0]} names {part!r}, which lies outside the folder")
    return parts
