"""Text that a model wrote, made harmless and visible before it is shown."""

import json
import logging
import re
import unicodedata
from typing import Any

_INVISIBLE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def _shown(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    return "\ufffd" if unicodedata.category(match.group()) == "Cs" else f"<U+{code:04X}>"


def visible(text: str, limit: int | None = None) -> str:
    """`text` with control, bidirectional, zero-width and unpaired surrogate characters spelt out.

    They could reorder or hide what stands beside them, and unpaired surrogates cannot be written
    as UTF-8. Line feeds stay. Longer than `limit` characters it is cut and ends in an ellipsis.
    """
    if limit is not None and len(text) > limit:
        text = text[:limit] + "\u2026"
    return _INVISIBLE.sub(_shown, text)


class Formatter(logging.Formatter):
    """Lines of a log, which people read in terminals."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as `logging` formats it, made visible."""
        return visible(super().format(record))


def embedded_json(value: Any) -> str:
    """JSON for the inside of a script element: ASCII, and nothing in it can end the element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")
