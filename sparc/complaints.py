"""Hydra's and OmegaConf's complaints, retold in one line."""

import dataclasses
import difflib
import typing
from collections.abc import Iterator
from typing import Any

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from sparc.config import Config


def _keys(schema: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of every value that a configuration has."""
    for name, hint in typing.get_type_hints(schema).items():
        if dataclasses.is_dataclass(hint):
            yield from _keys(hint, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _no_such_key(key: str) -> str:
    if key.startswith("hydra."):
        return f"{key}: no such key; `sparc --cfg hydra` prints every key"
    known = list(_keys(Config))
    last = {name.rpartition(".")[2]: name for name in known}
    near = difflib.get_close_matches(key, known, 1) or [
        last[name] for name in difflib.get_close_matches(key.rpartition(".")[2], last, 1)
    ]
    hint = f"did you mean {near[0]}?" if near else "`sparc --cfg job` prints every key"
    return f"{key}: no such key; {hint}"


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0].strip().rstrip(".")


def one_line(error: BaseException) -> str:
    """What is wrong and where, in one line, for an exception of Hydra or OmegaConf."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    key = str(getattr(cause, "full_key", "") or "")
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        return _no_such_key(key)
    if isinstance(cause, MissingMandatoryValue):
        return f"{key} is not set: add {key}=... to the command line"
    if isinstance(cause, ValidationError):
        return f"{key}: {_first_line(cause)}"
    if isinstance(error, MissingConfigException):
        missing = str(error.missing_cfg_file or "").removesuffix(".yaml")
        options = ", ".join(error.options or ())
        group = missing.rpartition("/")[0]
        return f"{group}={missing.rpartition('/')[2]}: no such option; choose one of: {options}"
    if isinstance(error, OverrideParseException):
        return f"cannot read the override '{error.override}': write key=value, quoting where needed"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines)
