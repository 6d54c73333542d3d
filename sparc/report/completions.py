"""The completions of a run, paired over arms for reading and added up for the pictures."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparc.display.plain import visible

SHOWN_ARMS = ("baseline", "pruned", "random")
LIMIT_CHARACTERS = 1_500_000
LIMIT_TEXT = 1_500
_PER_ROW = 60  # what a row costs besides its texts

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """The rows of the completions' table.

    data: what the page's script reads: `arms`, `categories`, `prompts` and `rows`, each row
    [category, prompt, sample, then completion and score for every arm]. shown of total: rows.
    """

    data: dict[str, Any]
    shown: int
    total: int


def _shown_arm(record: Record) -> str | None:
    arm = record["arm"]
    if arm == "random" and record["draw"] != 0:
        return None
    return arm if arm in SHOWN_ARMS else None


def _paired(records: Iterable[Record]) -> list[tuple[tuple[str, str, int], dict[str, Record]]]:
    """Each (category, prompt, sample) with its record in every arm.

    A prompt that stands twice in a data set keeps two rows.
    """
    seen: dict[tuple[Any, ...], int] = defaultdict(int)
    rows: dict[tuple[Any, ...], dict[str, Record]] = {}
    for record in records:
        arm = _shown_arm(record)
        if arm is None:
            continue
        key = (record["category"], record["prompt"], record["sample"])
        repeat = seen[arm, *key]
        seen[arm, *key] += 1
        rows.setdefault((*key, repeat), {})[arm] = record
    return [((key[0], key[1], key[2]), arms) for key, arms in rows.items()]


def _first_that_fit(rows: Sequence[Any], limit: int) -> list[Any]:
    """First samples of all prompts before second ones, while `limit` characters last."""
    kept, size = set(), 0
    for position in sorted(range(len(rows)), key=lambda i: (rows[i][0][2], i)):
        (_, prompt, sample), arms = rows[position]
        texts = [prompt] if sample == 0 else []
        texts += [record["completion"] for record in arms.values()]
        size += _PER_ROW + sum(min(len(each), LIMIT_TEXT) for each in texts)
        if size > limit:
            break
        kept.add(position)
    return [row for position, row in enumerate(rows) if position in kept]


def table(records: Iterable[Record], limit: int = LIMIT_CHARACTERS) -> Table:
    """Rows for side-by-side reading: baseline, pruned and the first random draw, as far as present.

    About `limit` characters at most, so that the page stays light; texts longer than LIMIT_TEXT
    are cut.
    """
    paired = _paired(records)
    rows = _first_that_fit(paired, limit)
    arms = [arm for arm in SHOWN_ARMS if any(arm in found for _, found in rows)]
    categories = list(dict.fromkeys(category for (category, _, _), _ in rows))
    prompts = {prompt: i for i, prompt in enumerate(dict.fromkeys(key[1] for key, _ in rows))}
    lines = []
    for (category, prompt, sample), found in rows:
        line: list[Any] = [categories.index(category), prompts[prompt], sample]
        for arm in arms:
            record = found.get(arm)
            score = record and record["score"]
            line += [
                visible(record["completion"], LIMIT_TEXT) if record else None,
                None if score is None else round(score, 4),
            ]
        lines.append(line)
    data = {
        "arms": arms,
        "categories": [visible(category) for category in categories],
        "prompts": [visible(prompt, LIMIT_TEXT) for prompt in prompts],
        "rows": lines,
    }
    return Table(data, len(rows), len(paired))


def prompt_means(records: Iterable[Record], category: str) -> dict[str, dict[str, float]]:
    """arm -> prompt -> mean score of its completions (all draws of random together).

    Empty completions have no score and are left out; a prompt without any is left out too.
    """
    sums: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0]))
    for record in records:
        if record["category"] == category and record["score"] is not None:
            cell = sums[record["arm"]][record["prompt"]]
            cell[0] += record["score"]
            cell[1] += 1
    return {
        arm: {prompt: total / count for prompt, (total, count) in cells.items()}
        for arm, cells in sums.items()
    }
