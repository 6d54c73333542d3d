"""What no text and no number of a configuration may be, whatever its key."""

import math
import unicodedata
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any

from sparc.config import Config
from sparc.config.rules import settings

_LONGEST = 4096  # characters, as long as paths may be
_LARGEST = 2**31  # of any count; seeds may be larger
_LARGEST_SEED = 2**63
_SHOWN = 60


def leaf_complaints(config: Config) -> Iterator[str]:
    for key, value in _leaves(config):
        if isinstance(value, str):
            yield from _text(key, value)
        elif isinstance(value, int):
            is_seed = key.partition("[")[0].endswith(("seed", "seeds"))
            largest = _LARGEST_SEED if is_seed else _LARGEST
            if not -largest < value < largest:
                yield f"{key}={str(value)[:_SHOWN]}: must be below {largest}"
        elif isinstance(value, float) and not math.isfinite(value):
            yield f"{key}={value}: must be a finite number"
        elif isinstance(value, list | dict):
            yield f"{key}={str(value)[:_SHOWN]}: must be one value, not several"


def _leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of everything that a configuration holds, lists item by item."""
    for key, value, _ in settings(config, prefix):
        for number, item in enumerate(value if isinstance(value, list) else ()):
            if is_dataclass(item):
                yield from _leaves(item, f"{key}[{number}].")
            else:
                yield f"{key}[{number}]", item
        if not isinstance(value, list):
            yield key, value


def _text(key: str, text: str) -> Iterator[str]:
    if not text.strip():
        yield f"{key}={text[:_SHOWN]!r}: is empty; leave it out, or set it to null where it may be"
    if len(text) > _LONGEST:
        yield f"{key}={text[:_SHOWN]}...: longer than {_LONGEST} characters"
    # Cs: bytes of the command line that are not UTF-8
    if any(unicodedata.category(sign) in ("Cc", "Cs") for sign in text):
        yield f"{key}={text[:_SHOWN]!r}: holds control characters, or is not UTF-8"
