"""What the terminal shows: names made harmless, and tables of numbers."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from sparc.display.plain import visible


def harmless(text: str) -> str:
    """Names from data and configurations may hold markup and control characters."""
    return escape(visible(text))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> Table:
    """A table whose first column names the rows; the others are flush right."""
    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for number, column in enumerate(columns):
        made.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    for row in rows:
        made.add_row(*row)
    return made
