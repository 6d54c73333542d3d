"""Several commands of `sparc` one after the other in one process, which pays its imports once.

`python -m tests.support.commands '[{"arguments": [...], "environment": {...}}, ...]'` prints a
JSON record for each: exit code and what it printed. A job that Hydra launches must be the last one.
"""

import contextlib
import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.runs import environment, python


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    def failed(self) -> list[str]:
        """The checks with a cross, each once."""
        rows = [line[2:].strip() for line in self.stdout.splitlines() if line.startswith(" ✗")]
        return list(dict.fromkeys(row.split("  ")[0] for row in rows))

    def advice(self, name: str) -> str:
        """The one line of advice of a check that failed."""
        (found,) = {line for line in self.stdout.splitlines() if line.startswith(f"✗ {name}: ")}
        return found


def commands(
    cases: Sequence[tuple[Sequence[str], dict[str, str]]], home: Path, **extra: str
) -> list[Ended]:
    """Run `sparc` with each case's arguments and environment; `extra` holds for all of them."""
    asked = [{"arguments": list(a), "environment": e} for a, e in cases]
    root = Path(__file__).parents[2]
    env = environment(home, SPARC_HOME=str(home)) | extra
    done = python("-m", "tests.support.commands", json.dumps(asked), cwd=root, env=env)
    assert done.returncode == 0, done.stderr
    return [Ended(**record) for record in json.loads(done.stdout.splitlines()[-1])]


def _run(case: dict[str, Any]) -> dict[str, Any]:
    before = dict(os.environ)
    os.environ.update(case["environment"])
    sys.argv = ["sparc", *case["arguments"]]
    out, errors, code = io.StringIO(), io.StringIO(), 0
    try:
        from sparc.app import main

        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    os.environ.clear()
    os.environ.update(before)
    return {"code": code, "stdout": out.getvalue(), "stderr": errors.getvalue()}


if __name__ == "__main__":
    os.chdir(os.environ["SPARC_HOME"])
    print(json.dumps([_run(case) for case in json.loads(sys.argv[1])]))
