"""Prompts from a file: categories, and three splits that share no prompt."""

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparc.config import DatasetConfig
from sparc.config.evaluation import SPLITS
from sparc.errors import UserError
from sparc.generation.completing import encode
from sparc.models.model import Model
from sparc.sources.leaks import normalised
from sparc.sources.reading import Record, field, is_blank, shown, text_of
from sparc.sources.streams import is_local, place
from sparc.sources.texts import Wanted, records

_LONGEST = 1_000_000  # characters; no context holds more, and to tokenise them takes minutes
_log = logging.getLogger(__name__)


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


def read_prompts(config: DatasetConfig, cache: Path | None = None) -> list[Prompt]:
    """The prompts of `dataset.prompts.path` in their order, near-duplicates left out.

    It is a local file or a data set of the hub, kept in `cache`, whose blank prompts are skipped:
    nobody can mend them there. Raises UserError that names the first bad line: no prompt, one that
    is far too long, an unknown category or split, or a prompt whose split contradicts that of an
    earlier line; and for a column that is not there.
    """
    source = config.prompts
    if source.path is None:
        raise UserError("dataset.prompts.path is not set: add dataset.prompts.path=... (a file)")
    required = [source.column, *filter(None, (source.score_column, source.flag_column))]
    wanted = Wanted((*required, source.category_column, source.split_column), len(required))
    found: dict[str, Prompt] = {}
    blank, own = 0, is_local(source)
    for number, record in records(source, wanted, cache):
        if not own and is_blank(field(record, source.column)):
            blank += 1
            continue
        prompt = _prompt(record, config, place(source), number)
        if prompt is None:
            continue
        key = normalised(prompt.text)
        first = found[key] = found.pop(key, prompt)  # at the place of its last near-duplicate
        if first.split != prompt.split:
            raise UserError(
                f"{place(source)}, line {number}: the same prompt is already in split "
                f"'{first.split}'"
            )
    if blank:
        _log.info("%s: %d blank prompts skipped", place(source), blank)
    return list(found.values())


def texts_of(
    prompts: Sequence[Prompt], config: DatasetConfig, split: str, *categories: str | None
) -> list[str]:
    """The prompts of some categories, in order: of a split, or all where nothing is split."""
    unsplit = config.prompts.split_by == "none"
    return [
        each.text
        for each in prompts
        if each.category in categories and (unsplit or each.split == split)
    ]


def refuse_too_few(counts: Mapping[str, tuple[int, int]], where: str) -> None:
    """Raise UserError where there are fewer prompts than asked for.

    The message names all that fall short, as overrides that ask for what there is.

    Args:
        counts: override ("evaluation.prompts") -> how many there are, how many it asks for.
        where: What the prompts are of.
    """
    short = {key: there for key, (there, asked) in counts.items() if there < asked}
    if short:
        found = ", ".join(f"{there} of {counts[key][1]} for {key}" for key, there in short.items())
        fitting = " ".join(f"{key}={there}" for key, there in short.items())
        raise UserError(f"{where}: fewer prompts than asked: {found}; add more, or {fitting}")


def refuse_too_long(
    prompts: Mapping[str, Sequence[str]], model: Model, max_new_tokens: int
) -> None:
    """Raise UserError that names the first prompt which does not fit the model's context.

    Each of `prompts`, category -> texts, needs room for `max_new_tokens` behind it. Otherwise
    completing would find out, after attribution.
    """
    for category, texts in prompts.items():
        for text in texts:
            try:
                encode(model.network, model.tokenizer, [text], max_new_tokens)
            except UserError as error:
                beginning = " ".join(text[:60].split())
                why = str(error).removeprefix("prompt 1 ")
                raise UserError(f"{category} prompt '{beginning}...' {why}") from error


def _prompt(record: Record, config: DatasetConfig, path: str, number: int) -> Prompt | None:
    """The prompt of a record; None for one that does not count."""
    where, flag = f"{path}, line {number}", config.prompts.flag_column
    if flag is not None and field(record, flag) not in (True, "true", "True", "1"):
        return None
    text = text_of(path, number, record, config.prompts.column)
    if len(text) > _LONGEST:
        raise UserError(f"{where}: a prompt of {len(text)} characters, at most {_LONGEST}: cut it")
    category = _category(record, config, where)
    split = field(record, config.prompts.split_column) or split_of(text)
    if split not in SPLITS:
        raise UserError(f"{where}: split {shown(split)}; use one of {', '.join(SPLITS)}")
    return None if category is None else Prompt(text, category, split)


def _category(record: Record, config: DatasetConfig, where: str) -> str | None:
    """The category of a record; None for a score between the two categories."""
    columns = config.prompts
    if columns.score_column is None:
        category = field(record, columns.category_column)
        if category not in config.categories:
            raise UserError(
                f"{where}: {columns.category_column} is {shown(category)}; use one of "
                f"dataset.categories={config.categories}"
            )
        return str(category)
    score = _score(field(record, columns.score_column), f"{where}: {columns.score_column}")
    if score is None:
        return None  # RealToxicityPrompts has prompts that nobody scored
    if score >= columns.undesired_from:
        return config.undesired_category
    return config.neutral_category if score <= columns.neutral_to else None


def _score(value: Any, what: str) -> float | None:
    """A score as a number, which in CSV is text; None for an empty one, or a NaN in its place."""
    if value is None or value == "":
        return None
    try:
        score = float(value)
    except (TypeError, ValueError, OverflowError):
        score = math.inf
    if math.isinf(score):
        raise UserError(f"{what} is {shown(value)}; expected a number")
    return None if math.isnan(score) else score
