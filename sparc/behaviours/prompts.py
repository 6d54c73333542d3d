"""Prompts from a file: categories, and three splits that share no prompt."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from sparc.behaviours.reading import Record, field, records, text_of
from sparc.config import DatasetConfig
from sparc.errors import UserError
from sparc.leaks import normalised

SPLITS = ("attribution", "validation", "held_out")


@dataclass(frozen=True)
class Prompt:
    """A prompt of a file with its category and its split."""

    text: str
    category: str
    split: str


def split_of(text: str) -> str:
    """The split of a prompt: SHA-256 of its normalised text, so near-duplicates stay together."""
    hashed = hashlib.sha256(normalised(text).encode()).digest()
    return SPLITS[int.from_bytes(hashed[:8]) % len(SPLITS)]


def read_prompts(config: DatasetConfig) -> list[Prompt]:
    """The prompts of `dataset.prompts.path` in their order, near-duplicates left out.

    Raises UserError that names the first bad line: no prompt, an unknown category or split, or a
    prompt whose split contradicts that of an earlier line.
    """
    path = config.prompts.path
    if path is None:
        raise UserError("dataset.prompts.path is not set: add dataset.prompts.path=... (a file)")
    seen: dict[str, str] = {}
    found = []
    for number, record in records(path):
        where = f"{path}, line {number}"
        for prompt in _prompt(record, config, path, number):
            key = normalised(prompt.text)
            if seen.setdefault(key, prompt.split) != prompt.split:
                raise UserError(f"{where}: the same prompt is already in split '{seen[key]}'")
            found.append((key, prompt))
    return list({key: prompt for key, prompt in reversed(found)}.values())[::-1]


def of(prompts: list[Prompt], split: str, category: str) -> list[str]:
    """The texts of one split and category, in order."""
    return [p.text for p in prompts if p.split == split and p.category == category]


def _prompt(record: Record, config: DatasetConfig, path: str, number: int) -> Iterator[Prompt]:
    where = f"{path}, line {number}"
    text = text_of(path, number, record, config.prompts.column)
    category = _category(record, config, where)
    split = field(record, config.prompts.split_column) or split_of(text)
    if split not in SPLITS:
        raise UserError(f"{where}: split '{split}'; use one of {', '.join(SPLITS)}")
    if category is not None:
        yield Prompt(text, category, split)


def _category(record: Record, config: DatasetConfig, where: str) -> str | None:
    """The category of a record; None for a score between the two categories."""
    columns = config.prompts
    if columns.score_column is None:
        category = field(record, columns.category_column)
        if category not in config.categories:
            raise UserError(
                f"{where}: {columns.category_column} is {category!r}; use one of "
                f"dataset.categories={config.categories}"
            )
        return str(category)
    score = field(record, columns.score_column)
    if not isinstance(score, int | float):
        return None  # RealToxicityPrompts has prompts that nobody scored
    if score >= columns.undesired_from:
        return config.undesired_category
    return config.neutral_category if score <= columns.neutral_to else None
