"""stage=clean: what the cache holds, and the removal of what has not been used for long."""

import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sparc.config import Config
from sparc.display.plain import visible
from sparc.preflight.findings import size
from sparc.storage.cleaning import Item, items, remove
from sparc.storage.locks import clear_dead, held
from sparc.sweeps.jobs import PLANNING, RUNNING


def clean(config: Config) -> int:
    """List `paths.cache` by kind and remove what `clean` says; the exit code, 0.

    Of `paths.outputs` only the lock files go that killed jobs have left in their folders.
    """
    root, wanted = Path(config.paths.cache), config.clean
    found, now = list(items(root)), time.time()
    old = [each for each in found if each.expired(wanted.older_than_days, now)]
    dead = list(_dead_locks(Path(config.paths.outputs)))
    if found:
        table = _table(root, found, old, wanted.older_than_days)
        Console(highlight=False).print(table)
    else:
        print(f"{visible(str(root))}: nothing there")
    if not (old or dead):
        print("nothing to remove")
    elif wanted.dry_run:
        print(f"nothing removed yet: clean.dry_run=false removes {_counted(old, dead)}")
    else:
        gone = [each for each in old if remove(each)]
        print(f"removed {_counted(gone, [each for each in dead if clear_dead(each)])}")
        if len(gone) < len(old):
            print(f"left {len(old) - len(gone)}: in use, or not this user's to remove")
    return 0


def _dead_locks(outputs: Path) -> Iterator[Path]:
    """Lock files below `outputs` whose holders are gone; links to elsewhere are not followed."""
    root = outputs.resolve()
    patterns = (f"runs/*/{RUNNING}", f"sweeps/*/{PLANNING}", f"sweeps/*/*/{RUNNING}")
    for path in chain.from_iterable(sorted(outputs.glob(each)) for each in patterns):
        inside = path.resolve().is_relative_to(root) and not path.is_symlink()
        if inside and held(path) is None:
            yield path


def _table(root: Path, found: Sequence[Item], old: Sequence[Item], days: int) -> Table:
    title = f"{escape(visible(str(root)))}: {size(sum(each.bytes for each in found))}"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for name in ("kind", "entries", "size", "last used", f"older than {days} days", "leftovers"):
        table.add_column(name, justify="left" if name == "kind" else "right")
    for kind in sorted({each.kind for each in found}):
        here = [each for each in found if each.kind == kind]
        own = [each for each in here if each.what in ("entry", "unfinished")]
        gone = [each for each in old if each.kind == kind and each in own]
        last = max((each.used for each in own), default=None)
        table.add_row(
            escape(visible(kind)),
            str(len(own)),
            size(sum(each.bytes for each in here)),
            "-" if last is None else time.strftime("%Y-%m-%d", time.localtime(last)),
            f"{len(gone)}, {size(sum(each.bytes for each in gone))}" if gone else "-",
            str(sum(each.what == "leftover" for each in here) or "-"),
        )
    return table


def _counted(old: Sequence[Item], dead: Sequence[Path]) -> str:
    counts = {
        "entries": sum(each.what == "entry" for each in old),
        "unfinished attributions": sum(each.what == "unfinished" for each in old),
        "leftovers of killed processes": sum(each.what == "leftover" for each in old),
        "dead locks in paths.outputs": len(dead),
    }
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f"{said or 'nothing'} ({size(sum(each.bytes for each in old))})"
