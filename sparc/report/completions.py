"""The completions of a run, paired over arms for reading and added up for the pictures."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparc.display.plain import visible

_ARMS = ("baseline", "pruned", "random")
_LIMIT, _LIMIT_TEXT = 1_500_000, 1_500  # characters of a page and of a text
_PER_ROW = 60  # what a row costs besides its texts

Record = Mapping[str, Any]
_Key = tuple[str, str, int]  # category, prompt, sample


@dataclass(frozen=True)
class Table:
    """The rows of the completions' table."""

    data: dict[str, Any]
    """What the page's script reads: `arms`, `categories`, `prompts` and `rows`, each row
    [category, prompt, sample, then completion and score for every arm]."""
    shown: int
    total: int


def _paired(records: Iterable[Record]) -> list[tuple[_Key, dict[str, Record]]]:
    """Each key with its record in every arm; of the random draws, the first one.

    A prompt that stands twice in a data set keeps two rows.
    """
    seen: dict[tuple[Any, ...], int] = defaultdict(int)
    rows: dict[tuple[_Key, int], dict[str, Record]] = {}
    for record in records:
        arm, key = record["arm"], (record["category"], record["prompt"], record["sample"])
        if arm not in _ARMS or (arm == "random" and record["draw"] != 0):
            continue
        repeat = seen[arm, key]
        seen[arm, key] += 1
        rows.setdefault((key, repeat), {})[arm] = record
    return [(key, arms) for (key, _), arms in rows.items()]


def _first_that_fit(rows: Sequence[tuple[_Key, dict[str, Record]]], limit: int) -> list[Any]:
    """First samples of all prompts before second ones, while `limit` characters last."""
    kept, size = set(), 0
    for position in sorted(range(len(rows)), key=lambda i: (rows[i][0][2], i)):
        (_, prompt, sample), arms = rows[position]
        texts = [prompt] if sample == 0 else []
        texts += [record["completion"] for record in arms.values()]
        size += _PER_ROW + sum(min(len(each), _LIMIT_TEXT) for each in texts)
        if size > limit:
            break
        kept.add(position)
    return [row for position, row in enumerate(rows) if position in kept]


def table(records: Iterable[Record], limit: int = _LIMIT) -> Table:
    """Rows for side-by-side reading: baseline, pruned and the first random draw, as far as present.

    About `limit` characters at most, so that the page stays light; longer texts are cut.
    """
    paired = _paired(records)
    rows = _first_that_fit(paired, limit)
    arms = [arm for arm in _ARMS if any(arm in found for _, found in rows)]
    categories = list(dict.fromkeys(category for (category, _, _), _ in rows))
    prompts = {prompt: i for i, prompt in enumerate(dict.fromkeys(key[1] for key, _ in rows))}
    lines = []
    for (category, prompt, sample), found in rows:
        line: list[Any] = [categories.index(category), prompts[prompt], sample]
        for arm in arms:
            record = found.get(arm)
            score = record and record["score"]
            line += [
                visible(record["completion"], _LIMIT_TEXT) if record else None,
                None if score is None else round(score, 4),
            ]
        lines.append(line)
    data = {
        "arms": arms,
        "categories": [visible(category) for category in categories],
        "prompts": [visible(prompt, _LIMIT_TEXT) for prompt in prompts],
        "rows": lines,
    }
    return Table(data, len(rows), len(paired))


def prompt_means(records: Iterable[Record], category: str) -> dict[str, dict[str, float]]:
    """arm -> prompt -> mean score of its completions (all draws of random together).

    Empty completions have no score and are left out; a prompt without any is left out too.
    """
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record["category"] == category and record["score"] is not None:
            scores[record["arm"]][record["prompt"]].append(record["score"])
    return {
        arm: {prompt: sum(each) / len(each) for prompt, each in prompts.items()}
        for arm, prompts in scores.items()
    }
