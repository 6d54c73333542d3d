"""`python -m sparc.tiny seed=N [out=DIR]` rebuilds the embedded models, from a checkout alone."""

import importlib
import sys
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[2]


def main(arguments: list[str]) -> int:
    """Run the recipe in `scripts/tiny`, which is not part of what is installed."""
    if not (_CHECKOUT / "scripts" / "tiny").is_dir():
        print("sparc.tiny: the recipe is in the source checkout, not here", file=sys.stderr)
        return 2
    sys.path.insert(0, str(_CHECKOUT))
    return int(importlib.import_module("scripts.tiny.__main__").main(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
