"""The trees of results.json: nested mappings of metrics, down to leaves of values or changes."""

import re
from collections.abc import Mapping
from typing import Any

_REFERENCE = re.compile(r"\$\{([A-Za-z]\w*(?:\.\w+)*)\}")


def leaf(tree: Any, *path: str) -> Any:
    """The value at `path` of nested mappings; None where the path ends early."""
    for name in path:
        if not isinstance(tree, Mapping) or name not in tree:
            return None
        tree = tree[name]
    return tree


def plain_references(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with each `${a.b}` that names another setting replaced by what that one says.

    Only by values that refer to nothing themselves; whatever else an interpolation may say
    (`${oc.env:X}`) stays text, as the settings may be somebody else's.
    """

    def named(match: re.Match[str]) -> Any:
        found = leaf(tree, *match.group(1).split("."))
        return match.group() if found is None or "${" in str(found) else found

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(each) for key, each in value.items()}
        if isinstance(value, list):
            return [filled(each) for each in value]
        if not isinstance(value, str):
            return value
        whole = _REFERENCE.fullmatch(value)
        return named(whole) if whole else _REFERENCE.sub(lambda m: str(named(m)), value)

    return {key: filled(each) for key, each in tree.items()}
