"""What must not leave this machine: secrets of the environment and paths."""

import os
import re
from pathlib import Path
from typing import Any

_SECRET_NAME = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD)$")
_SHORTEST_SECRET = 8  # characters; a shorter value would be found in ordinary words
_ABSOLUTE_PATH = re.compile(r"""(?<![\w.:/~-])~?/(?:[^\s/:,;'"()]+/)+([^\s/:,;'"()]*)""")


def _secrets() -> list[str]:
    return [
        value
        for name, value in os.environ.items()
        if _SECRET_NAME.search(name.upper()) and len(value) >= _SHORTEST_SECRET
    ]


def _scrubbed_text(text: str, secrets: list[str], home: str) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    if len(home) > 1:
        text = text.replace(home, "~")
    return _ABSOLUTE_PATH.sub(r".../\1", text)


def scrubbed(value: Any) -> Any:
    """`value` (JSON-able) with secrets as `***` and of absolute paths only the last part."""
    secrets, home = _secrets(), str(Path.home())

    def clean(each: Any) -> Any:
        if isinstance(each, str):
            return _scrubbed_text(each, secrets, home)
        if isinstance(each, dict):
            return {clean(key): clean(item) for key, item in each.items()}
        if isinstance(each, list | tuple):
            return [clean(item) for item in each]
        return each

    return clean(value)
