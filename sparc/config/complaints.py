"""What goes wrong, told in one line: Hydra's and OmegaConf's complaints, and any exception."""

import dataclasses
import difflib
import logging
import os
import sys
import typing
from collections.abc import Callable, Sequence
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from sparc.config import Config
from sparc.display.plain import visible
from sparc.errors import UserError

_FULL_ERROR = "HYDRA_FULL_ERROR"  # Hydra's own name: in the environment as 1 it asks for tracebacks
_LONGEST = 1000  # characters of a line
_log = logging.getLogger(__name__)


def ending(command: Callable[[], int]) -> int:
    """Run `command` and return its exit code; an exception is told in one line on stderr.

    The code is then 2 for a user's mistake, 130 after Ctrl-C, else 1. The traceback goes to the
    log, where there is one, or to the terminal with HYDRA_FULL_ERROR=1 in the environment.
    """
    try:
        return command()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # what reads the output has gone; nothing more can be told there
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get(_FULL_ERROR) == "1" and not isinstance(error, UserError):
            raise
        if any(isinstance(each, logging.FileHandler) for each in logging.getLogger().handlers):
            _log.info("stopped", exc_info=True)
        code, line = _code_and_line(error)
        return tell(line, code)


def tell(message: str, code: int = 2) -> int:
    """Print `sparc: message` in one line on stderr; return `code`."""
    print(f"sparc: {visible(' '.join(message.split()), _LONGEST)}", file=sys.stderr)
    return code


def _code_and_line(error: Exception) -> tuple[int, str]:
    """Exit code and line for an exception."""
    if isinstance(error, UserError):
        return 2, str(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return 2, one_line(error)
    if isinstance(error, RecursionError):
        return 2, "nested too deeply to be read"
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename is not None else ""
        return 1, f"{place}{error.strerror or error}"
    why = f"{type(error).__name__}: {error}".removesuffix(": ")
    return 1, f"{why} ({_FULL_ERROR}=1 shows where)"


def hints(schema: Any, prefix: str = "") -> dict[str, Any]:
    """The type of everything that a configuration has (groups, their parts, values) by its name."""
    found: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(schema).items():
        found[f"{prefix}{name}"] = hint
        if dataclasses.is_dataclass(hint):
            found |= hints(hint, f"{prefix}{name}.")
    return found


def no_such_key(key: str, known: Sequence[str]) -> str:
    """What to say of a key that is none of those `known`: the nearest, if there is one."""
    if key.startswith("hydra."):
        return f"{key}: no such key; `sparc --cfg hydra` prints every key"
    last = {name.rpartition(".")[2]: name for name in reversed(known)}
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
        return no_such_key(key, list(hints(Config)))
    if isinstance(cause, MissingMandatoryValue):
        return f"{key} is not set: add {key}=... to the command line"
    if isinstance(cause, ValidationError | InterpolationResolutionError):
        return f"{key}: {_first_line(cause)}"
    if isinstance(error, MissingConfigException) and not error.options:
        return f"{error.missing_cfg_file}: no such configuration"
    if isinstance(error, MissingConfigException):
        missing = str(error.missing_cfg_file or "").removesuffix(".yaml")
        options = ", ".join(error.options or ())
        group = missing.rpartition("/")[0]
        return f"{group}={missing.rpartition('/')[2]}: no such option; choose one of: {options}"
    if isinstance(error, OverrideParseException):
        return f"cannot read the override '{error.override}': write key=value, quoting where needed"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines)
