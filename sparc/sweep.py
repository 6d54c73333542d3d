"""`python -m sparc.sweep DIR`: what a sweep found so far, as files and on the terminal.

The same is done at the end of every multirun. No torch here, and nothing is run.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sparc.display import numbers
from sparc.display.plain import visible
from sparc.errors import UserError
from sparc.report.sweep import render_sweep
from sparc.storage.artifacts import write_json, write_text
from sparc.storage.locks import clear_dead
from sparc.sweeps.jobs import RUNNING, Job
from sparc.sweeps.submitted import fates
from sparc.sweeps.summary import Sweep, read_sweep
from sparc.sweeps.table import as_csv, method_names

_STATUS = {"ok": "done"}


def conclude(folder: Path) -> int:
    """Write sweep.json, sweep.csv and sweep.html into `folder` and print the table of jobs.

    Returns the exit code: 0, or 1 where a job failed, was interrupted or is missing. Raises
    UserError where there is no sweep.
    """
    sweep = read_sweep(folder)
    for job in (job for job, _ in sweep.jobs if job.folder):
        clear_dead(folder / str(job.folder) / RUNNING)  # of jobs that were killed
    write_json(folder / "sweep.json", sweep.as_json())
    write_text(folder / "sweep.csv", as_csv([row for _, row in sweep.jobs]))
    write_text(folder / "sweep.html", render_sweep(sweep))
    _show(sweep, folder)
    return 1 if sweep.unfinished else 0


def _show(sweep: Sweep, folder: Path) -> None:
    console = Console(highlight=False)
    console.print(_table(sweep))
    for each in sweep.recommended:
        if each.reported:
            what = f"{each.reported.num_neurons} neurons ({each.reported.method})"
            console.print(_plain(f"Recommended: {what}. {each.reported.verdict}"), soft_wrap=True)
    for note in sweep.notes:
        console.print(f"Note: {_plain(note)}", soft_wrap=True)
    counted = ", ".join(f"{count} {name}" for name, count in sweep.counts.items())
    console.print(f"Jobs: {counted}. Sweep directory: {_plain(str(folder))}", soft_wrap=True)
    errors = Console(stderr=True, highlight=False)
    known = fates(folder, [job.identity for job in sweep.unfinished])
    for job in sweep.unfinished:
        fate, log = known.get(job.identity, (None, None))
        errors.print(_plain(complaint(job, folder, fate, log)), soft_wrap=True)


def complaint(job: Job, folder: Path, fate: str | None = None, log: Path | None = None) -> str:
    """A line about a job that did not end well, and where its log is.

    fate: what became of it where it was submitted; log: what its process wrote there. They tell
    of jobs that could not tell themselves.
    """
    logs = [folder / job.log] if job.log else []
    none_yet = "it never started" if job.folder is None else "no results.json yet"
    reason = job.reason or (none_yet if job.status == "missing" else "no reason given")
    if job.status != "failed" and (fate or log):
        reason, logs = "; ".join(filter(None, (reason, fate))), [*logs, *([log] if log else [])]
    where = f" (log: {', '.join(map(str, logs))})" if logs else ""
    return f"{job.status}: {job.name}: {reason}{where}"


def _plain(text: str) -> str:
    return escape(visible(" ".join(text.split())))


def _table(sweep: Sweep) -> Table:
    table = Table(title=escape(visible(sweep.name)), box=box.SIMPLE_HEAD, title_justify="left")
    for name, right in (
        ("job", False),
        ("neurons", True),
        ("seed", True),
        ("status", False),
        ("toxicity", True),
        ("perplexity", True),
    ):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for cells in _lines(sweep):
        table.add_row(*map(_plain, cells))
    return table


def _lines(sweep: Sweep) -> Iterator[list[str]]:
    names = method_names([job for job, _ in sweep.jobs])
    for job, row in sweep.jobs:
        split = f" ({row['split'].replace('_', '-')})" if row["split"] else ""
        yield [
            names[job.name] + split,
            str(numbers.MISSING if row["num_neurons"] is None else row["num_neurons"]),
            str(numbers.MISSING if row["seed"] is None else row["seed"]),
            _STATUS.get(job.status, job.status),
            numbers.percent(row["toxicity_relative"]),
            numbers.percent(row["perplexity_relative"]),
        ]


def main() -> None:
    """Summarise the sweep in the folder that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m sparc.sweep",
        description="Write sweep.json, sweep.csv and sweep.html of a sweep and list its jobs.",
    )
    parser.add_argument("folder", type=Path, help="the sweep's folder, outputs/sweeps/...")
    try:
        sys.exit(conclude(parser.parse_args().folder))
    except UserError as error:
        print(f"sparc: {visible(str(error))}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"sparc: {visible(f'{error.filename}: {error.strerror}')}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
