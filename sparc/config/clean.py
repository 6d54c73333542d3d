"""The group `clean`: what stage=clean removes."""

from dataclasses import dataclass


@dataclass
class CleanConfig:
    """What of the cache goes: entries not used for `older_than_days`, unless `dry_run`."""

    older_than_days: int = 30
    dry_run: bool = True
