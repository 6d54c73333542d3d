"""A user's own folder of configuration files, looked at before Hydra reads it."""

from collections.abc import Iterable
from pathlib import Path

import yaml

from sparc.errors import UserError

_MOST_BYTES = 1_000_000
_MOST_VALUES = 100_000  # with every alias written out
_DEEPEST = 100


def refuse_unreadable(folder: Path, groups: Iterable[str]) -> None:
    """Raise UserError for a YAML file of `folder`, or of its `groups`, that cannot be read.

    That is one that is no regular file, too large, nested too deeply, or no YAML, and one whose
    aliases stand for more values than there is room for.
    """
    for place in (folder, *(folder / group for group in groups)):
        for file in sorted(place.glob("*.yaml")):
            if not file.is_file():
                raise UserError(f"{file}: no regular file")
            if file.stat().st_size > _MOST_BYTES:
                raise UserError(f"{file}: larger than {_MOST_BYTES} bytes")
            try:
                values = _values(file.read_bytes())
            except OSError as error:
                raise UserError(f"{file}: {error.strerror}") from error
            except (yaml.YAMLError, ValueError) as error:
                mark = getattr(error, "problem_mark", None)
                where = f", line {mark.line + 1}" if mark else ""
                raise UserError(f"{file}{where}: not readable as YAML") from error
            if values > _MOST_VALUES:
                raise UserError(f"{file}: its aliases stand for more than {_MOST_VALUES} values")


def _values(text: bytes) -> int:
    """How many values a YAML text has with every alias written out.

    Raises ValueError where it is nested too deeply.
    """
    counts = [0]  # of each part that is open, the whole text first
    anchors: dict[str, int] = {}
    names: list[str | None] = []
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            counts[-1] += anchors.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            counts[-1] += 1
            if event.anchor:
                anchors[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            counts.append(1)
            names.append(event.anchor)
            if len(counts) > _DEEPEST:
                raise ValueError("nested too deeply")
        elif isinstance(event, yaml.CollectionEndEvent):
            count, name = counts.pop(), names.pop()
            counts[-1] += count
            if name:
                anchors[name] = count
    return counts[0]
