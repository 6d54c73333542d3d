"""What checks plain data against a schema.

A schema is a type (`float` takes whole numbers, too; `bool` is neither), `(schema,)` for that or
null, `[schema]` for a list, a mapping of names to schemas, or a function that does the checking. In
a mapping a name that ends in `?` need not be there, `str` stands for every name that is not listed,
and names that are neither are free: later versions add some.
"""

from collections.abc import Callable, Mapping
from typing import Any

_LARGEST = 1e305  # a number's percentage, and the distance of two, are finite, too
_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def fault(value: Any, schema: Any, where: str) -> str | None:
    """What keeps `value`, which stands at `where`, from being of `schema`; None for nothing."""
    if isinstance(schema, tuple):
        return None if value is None else fault(value, schema[0], where)
    if isinstance(schema, list):
        if type(value) is not list:
            return f"{where} must be a list"
        told = (fault(each, schema[0], f"{where}[{i}]") for i, each in enumerate(value))
        return next(filter(None, told), None)
    if isinstance(schema, Mapping):
        return _mapping_fault(value, schema, where)
    if not isinstance(schema, type):
        found: str | None = schema(value, where)
        return found
    fits = type(value) is schema
    if schema is float:
        fits = type(value) in (int, float) and abs(value) <= _LARGEST
    return None if fits else f"{where} must be {_NAMES[schema]}"


def _mapping_fault(value: Any, schema: Mapping[Any, Any], where: str) -> str | None:
    if type(value) is not dict:
        return f"{where} must be a mapping"
    listed = {name.rstrip("?"): part for name, part in schema.items() if name is not str}
    for name in schema:
        if name is not str and not name.endswith("?") and name not in value:
            return f"{where} lacks {name}"
    for name, each in value.items():
        part = listed.get(name, schema.get(str))
        if part is not None and (told := fault(each, part, f"{where}.{name[:40]}")):
            return told
    return None


def must(told: str, fits: Callable[[Any], object], schema: Any = None) -> Any:
    """Of `schema`, if one is given, and such that it `fits`."""

    def check(value: Any, where: str) -> str | None:
        found = None if schema is None else fault(value, schema, where)
        return found or (None if fits(value) else f"{where} must {told}")

    return check


def some(schema: Any) -> Any:
    return must("not be empty", bool, [schema])


def all_of(names: str, schema: Any) -> dict[Any, Any]:
    """A mapping in which all of `names` are of one schema."""
    return dict.fromkeys(names.split(), schema)
