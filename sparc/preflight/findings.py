"""What was looked at and what was found: a table, and a line of advice for each failure."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sparc.display.plain import visible
from sparc.errors import UserError

_MARKS = {True: "[green]✓[/]", False: "[red]✗[/]", None: "-"}


@dataclass(frozen=True)
class Row:
    """One thing that a run needs, and what was found of it."""

    name: str
    ok: bool | None
    """None where it cannot be judged here."""
    found: str
    """A few words."""
    advice: str | None = None
    """One line that says what to do."""


@contextmanager
def failures(rows: list[Row], name: str, subject: str) -> Iterator[None]:
    """Add a failed row where the block raises: a fault is a row, too, and no traceback."""
    try:
        yield
    except UserError as error:
        rows.append(Row(name, False, subject, str(error)))
    except Exception as error:  # whatever a foreign file or a library comes up with
        reason = next(iter(str(error).strip().splitlines()), "")
        told = f"{subject}: cannot be used: {type(error).__name__}: {reason}"
        rows.append(Row(name, False, subject, told))


def show(rows: Sequence[Row], title: str) -> int:
    """Print the table and the advice to stdout; the exit code: 1 if anything fails."""
    console = Console(highlight=False)
    table = Table(title=escape(title), box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    table.add_column("")
    table.add_column("check", no_wrap=True)
    table.add_column("found", overflow="fold")
    for row in rows:
        table.add_row(_MARKS[row.ok], escape(row.name), escape(visible(row.found)))
    console.print(table)
    for row in rows:
        if row.advice is not None:
            line = f"{_MARKS[row.ok]} {escape(row.name)}: {escape(visible(row.advice))}"
            console.print(line, soft_wrap=True)
    return int(any(row.ok is False for row in rows))


def size(count: float) -> str:
    """A number of bytes for reading, in decimal units."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count:.0f} B"


def duration(seconds: float) -> str:
    """Seconds for reading, with two digits that count."""
    for unit, factor in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * factor:
            return f"{seconds / factor:.2g} {unit}"
    return f"{max(seconds, 1):.2g} s"
