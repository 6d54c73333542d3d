"""A sweep's folder as one value: jobs with their rows, points, what is recommended, notes."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparc.runs.tree import leaf
from sparc.sweeps.jobs import Job, read_jobs
from sparc.sweeps.recommending import Recommendation, recommendations
from sparc.sweeps.seed_means import Point, points
from sparc.sweeps.table import Row, with_rows

_SCHEMA_VERSION = 1
_ENDED_BADLY = ("failed", "interrupted", "unreadable")


@dataclass(frozen=True)
class Sweep:
    """All that is known of a sweep."""

    name: str
    jobs: tuple[tuple[Job, Row], ...]
    """With their rows, in the order of sweep.csv."""
    points: tuple[Point, ...]
    recommended: tuple[Recommendation, ...]
    notes: tuple[str, ...]
    arguments: tuple[str, ...] | None
    """The overrides of its command line; None where they were not kept."""

    @property
    def counts(self) -> dict[str, int]:
        """How many jobs are done, failed (interrupted, unreadable) and missing."""
        found = Counter(job.status for job, _ in self.jobs)
        failed = sum(found[status] for status in _ENDED_BADLY)
        return {
            "done": found.total() - failed - found["missing"],
            "failed": failed,
            "missing": found["missing"],
        }

    @property
    def unfinished(self) -> list[Job]:
        """Jobs that did not end well, and those that did not end at all."""
        return [job for job, _ in self.jobs if job.status in (*_ENDED_BADLY, "missing")]

    def as_json(self) -> dict[str, Any]:
        """What sweep.json holds."""
        return {
            "schema_version": _SCHEMA_VERSION,
            "name": self.name,
            "arguments": self.arguments,
            "jobs": self.counts,
            "notes": self.notes,
            "rows": [row for _, row in self.jobs],
            "points": [point.as_json() for point in self.points],
            "recommended": [each.as_json() for each in self.recommended],
        }


def read_sweep(folder: Path) -> Sweep:
    """Read the sweep in `folder`. Raises UserError where there is none."""
    found = read_jobs(folder)
    made = points(found.jobs)
    return Sweep(
        name=folder.resolve().name,
        jobs=tuple(with_rows(found.jobs)),
        points=tuple(made),
        recommended=tuple(recommendations(made)),
        notes=tuple(_notes(found.jobs, made)),
        arguments=found.arguments,
    )


def _notes(jobs: Sequence[Job], made: Sequence[Point]) -> Iterator[str]:
    """What keeps the jobs of a sweep from being comparable."""
    done = [job for job in jobs if job.status == "ok"]
    for what, path in {
        "revisions of the code": ("run", "git_revision"),
        "versions of the libraries": ("run", "versions"),
        "versions of the model's weights": ("model", "fingerprint"),
    }.items():
        # several models have several weights
        by_model: dict[Any, set[str]] = {}
        for job in done:
            model = leaf(job.results, "model", "source")
            by_model.setdefault(model, set()).add(str(leaf(job.results, *path)))
        count = max(map(len, by_model.values()), default=1)
        if count > 1:
            yield f"The jobs ran with {count} {what}."
    seeds = {seed for point in made for seed in point.seeds}
    fewer = sum(len(point.seeds) < len(seeds) for point in made)
    if fewer:
        yield f"{fewer} of {len(made)} points lack some of the sweep's {len(seeds)} seeds."
