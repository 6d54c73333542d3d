"""What a setting may be, said beside its type: `samples: Annotated[int, POSITIVE] = 128`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass
from typing import Any, get_type_hints


@dataclass(frozen=True)
class Rule:
    """What a setting must fit, or all items of a list; null fits everything."""

    fits: Callable[[list[Any]], bool]
    """Whether these items do."""
    otherwise: str
    """What to say of a setting that does not fit."""
    names_item: bool = False
    """Whether that is said of the item of a list, and not of the list."""


def _number(fits: Callable[[Any], bool], otherwise: str) -> Rule:
    return Rule(lambda items: all(map(fits, items)), otherwise)


POSITIVE = _number(lambda number: number >= 1, "must be 1 or more")
NOT_NEGATIVE = _number(lambda number: number >= 0, "must not be negative")
AT_LEAST_TWO = _number(lambda number: number >= 2, "must be 2 or more, or null")
SHARE = _number(lambda number: 0 <= number <= 1, "must lie between 0 and 1")
SHARE_INSIDE = _number(lambda number: 0 < number < 1, "must lie between 0 and 1")
SHARE_ABOVE_0 = _number(lambda number: 0 < number <= 1, "must be above 0 and at most 1")
UNIQUE = Rule(lambda items: len(set(items)) == len(items), "holds a value twice")


def at_most(most: int) -> Rule:
    """A limit beyond which a process takes more threads, memory or time than any machine has."""
    return _number(lambda number: number <= most, f"must be at most {most}")


def one_of(*choices: str) -> Rule:
    """The only values there are."""
    otherwise = f"must be one of {', '.join(choices)}"
    return Rule(lambda items: set(items) <= set(choices), otherwise, names_item=True)


def settings(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, tuple[Rule, ...]]]:
    """Dotted key, value and rules of every setting that is no group of settings."""
    for name, hint in get_type_hints(type(config), include_extras=True).items():
        value = getattr(config, name)
        if is_dataclass(value):
            yield from settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value, getattr(hint, "__metadata__", ())


def rule_complaints(config: Any) -> Iterator[str]:
    """What of a configuration breaks the rules beside its type."""
    for key, value, rules in settings(config):
        items = value if isinstance(value, list) else [] if value is None else [value]
        for rule in rules:
            for shown in items if rule.names_item else [value]:
                if not rule.fits([shown] if rule.names_item else items):
                    yield f"{key}={shown}: {rule.otherwise}"
