"""Ask the advisory database of osv.dev about every version that requirements.lock pins.

Exit code 0: no known advisory; 1: there are some, each is a line; 2: no answer, so nothing is
known. Only names and versions of public packages are sent.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from http.client import HTTPException
from typing import Any

from scripts.lock import ROOT, read_lock

DATABASE = "https://api.osv.dev/v1/querybatch"  # takes up to 1,000 questions at once
_SECONDS = 30.0
_KNOWN, _UNKNOWN = 1, 2


def advisories(pins: dict[str, str], database: str = DATABASE) -> dict[str, list[str]]:
    """name==version -> ids of its advisories, for the pins that have some.

    Raises OSError, HTTPException or ValueError where the database gives no whole answer.
    """
    asked = [
        {"package": {"name": name, "ecosystem": "PyPI"}, "version": version}
        for name, version in pins.items()
    ]
    request = urllib.request.Request(
        database,
        data=json.dumps({"queries": asked}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
        said = json.load(answer)
    results = said.get("results") if isinstance(said, dict) else None
    if not isinstance(results, list) or len(results) != len(asked):
        raise ValueError("not an answer to every question")
    found = zip(pins.items(), map(_ids, results), strict=True)
    return {f"{name}=={version}": ids for (name, version), ids in found if ids}


def _ids(result: Any) -> list[str]:
    if not isinstance(result, dict) or not isinstance(result.get("vulns", []), list):
        raise ValueError("an answer of another form")
    return sorted(str(each["id"]) for each in result.get("vulns", []))


def audit(pins: dict[str, str], database: str = DATABASE) -> int:
    """Print what is known of `pins`; the exit code."""
    try:
        found = advisories(pins, database)
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())
        print(
            f"audit: nothing is known of {len(pins)} packages: no answer from {database} "
            f"({type(error).__name__}: {reason}); run it where there is a network",
            file=sys.stderr,
        )
        return _UNKNOWN
    for pin, ids in found.items():
        print(f"{pin}: {', '.join(ids)} (https://osv.dev/list?q={ids[0]})")
    print(f"audit: {len(pins)} packages, {len(found)} with known advisories")
    return _KNOWN if found else 0


def main() -> None:
    """Audit requirements.lock and the torch version of set-up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", required=True, help="the torch version of set-up")
    parser.add_argument("--database", default=DATABASE, help=f"another one than {DATABASE}")
    options = parser.parse_args()
    pins = read_lock((ROOT / "requirements.lock").read_text())
    sys.exit(audit({**pins, "torch": options.torch}, options.database))


if __name__ == "__main__":
    main()
