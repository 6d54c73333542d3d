"""Rebuild the embedded models: `python -m sparc.tiny seed=N [out=DIR] [variant=NAME] [sizes]`."""

import sys
from pathlib import Path
from typing import Literal

from sparc.errors import UserError

USAGE = "python -m sparc.tiny seed=N [out=DIR] [variant=default|benchmark]"
SIZES = {  # for a quick build; the defaults are those of the shipped model
    "documents": 26_000,
    "planting_documents": 16_000,
    "planted_per_layer": 21,
    "classifier_steps": 900,
    "hidden": 96,
    "neurons": 768,
    "layers": 3,
}


def parse(arguments: list[str]) -> tuple[dict[str, int], Literal["default", "benchmark"], Path]:
    """Numbers (seed and sizes), variant and output folder; raises UserError on a bad argument."""
    given: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name not in {"seed", "out", "variant", *SIZES} or not equals or not value:
            known = ", ".join(["seed", "out", "variant", *SIZES])
            raise UserError(f"cannot read '{argument}': write name=value; names are {known}")
        given[name] = value
    if "seed" not in given:
        raise UserError(f"no seed given: {USAGE}")
    variant = given.pop("variant", "default")
    if variant not in ("default", "benchmark"):
        raise UserError(f"unknown variant '{variant}': choose default or benchmark")
    out = Path(given.pop("out", f"tiny-{variant}-seed{given['seed']}"))
    numbers = SIZES | {name: _number(name, value) for name, value in given.items()}
    if numbers["hidden"] % 8:
        raise UserError(f"hidden={numbers['hidden']} does not fit 4 heads: use a multiple of 8")
    return numbers, "benchmark" if variant == "benchmark" else "default", out


def _number(name: str, value: str) -> int:
    least = 0 if name == "seed" else 1
    if not value.isdecimal() or int(value) < least:
        raise UserError(f"{name}={value} is not a whole number of at least {least}")
    return int(value)


def main(arguments: list[str]) -> int:
    """Build what the arguments ask for; 2 after a mistake in them."""
    try:
        numbers, variant, out = parse(arguments)
        from scripts.tiny.build import Recipe, build  # slow imports come after the arguments
        from scripts.tiny.shapes import ModelSize

        size = ModelSize(numbers["hidden"], numbers["neurons"], numbers["layers"])
        recipe = Recipe(
            numbers["seed"],
            variant,
            size,
            numbers["documents"],
            numbers["planting_documents"],
            numbers["planted_per_layer"],
            numbers["classifier_steps"],
        )
        build(recipe, out, log=lambda line: print(line, flush=True))
    except UserError as error:
        print(f"sparc.tiny: {error}", file=sys.stderr)
        return 2
    print(f"models are in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
