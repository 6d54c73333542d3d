"""sparc: find, remove and measure the parameters that carry an undesired behaviour (SparC3).

The functions of the library are imported when they are first asked for.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_LIBRARY = "sparc.experiment.library"
_PUBLIC = {
    "Run": "sparc.runs",
    "Scores": "sparc.components.scores",
    "Selection": "sparc.components.selection",
    "UserError": "sparc.errors",
    "attribute": _LIBRARY,
    "compare_runs": _LIBRARY,
    "contrast": _LIBRARY,
    "load_model": _LIBRARY,
    "lowest": "sparc.components.selection",
    "matched": "sparc.components.selection",
    "removed": "sparc.components.removal",
    "run": _LIBRARY,
    "wrap": "sparc.models.model",
}
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'sparc' has no attribute '{name}'")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
