"""What must not leave this machine: secrets of the environment and paths."""

import os
import re
from pathlib import Path
from typing import Any

_SECRET_NAME = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD)$")
_SHORTEST_SECRET = 8  # characters; a shorter value would be found in ordinary words
_ABSOLUTE_PATH = re.compile(r"""(?<![\w.:/~-])~?/(?:[^\s/:,;'"()]+/)+([^\s/:,;'"()]*)""")


def scrubbed(value: Any) -> Any:
    """`value` (JSON-able) with secrets as `***` and of absolute paths only the last part."""
    home = str(Path.home())
    secrets = [
        secret
        for name, secret in os.environ.items()
        if _SECRET_NAME.search(name.upper()) and len(secret) >= _SHORTEST_SECRET
    ]

    def clean(each: Any) -> Any:
        if isinstance(each, dict):
            return {clean(key): clean(item) for key, item in each.items()}
        if isinstance(each, list | tuple):
            return [clean(item) for item in each]
        if not isinstance(each, str):
            return each
        for secret in secrets:
            each = each.replace(secret, "***")
        return _ABSOLUTE_PATH.sub(r".../\1", each.replace(home, "~") if len(home) > 1 else each)

    return clean(value)
