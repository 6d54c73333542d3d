"""Write requirements.lock: every package that sparc and its extras need, pinned, without torch.

Asks pip to resolve pyproject.toml together with one torch version and writes down what it would
install. Pins of the present lock are kept unless they leave pyproject.toml's ranges or are named
with --upgrade.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# Everything that sparc and its extras need, without torch and the packages that only torch brings.
# Install torch first, then: pip install --no-deps -r requirements.lock
# Written by `make lock`.
"""
# Packages whose own dependencies must stay out: see the extra `lrp` in pyproject.toml.
WITHOUT_DEPENDENCIES = frozenset({"lxt"})
# Installed by set-up before the lock, in the build that fits the machine, or part of every venv.
NOT_LOCKED = re.compile(r"(torch|triton|setuptools|pip)|(nvidia|cuda)-.*")


def direct_requirements(pyproject: dict[str, Any]) -> list[Requirement]:
    """The direct dependencies of a parsed pyproject.toml, those of all extras included."""
    project = pyproject["project"]
    lines = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        lines += extra
    return [Requirement(line) for line in lines]


def read_lock(text: str) -> dict[str, str]:
    """Name (canonical) → version of a lock's lines; ValueError for a line that pins nothing."""
    pins = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!+_-]+)", line)
        if match is None:
            raise ValueError(f"requirements.lock: expected name==version, found {line!r}")
        pins[str(canonicalize_name(match[1]))] = match[2]
    return pins


def kept_pins(
    pins: dict[str, str], direct: list[Requirement], upgrade: frozenset[str]
) -> dict[str, str]:
    """The pins that still hold: not named in `upgrade` and inside the direct ranges."""
    ranges = {canonicalize_name(r.name): r.specifier for r in direct}
    return {
        name: version
        for name, version in pins.items()
        if name not in upgrade
        and (name not in ranges or ranges[canonicalize_name(name)].contains(version))
    }


def resolve(arguments: list[str]) -> dict[str, str]:
    """Name → version of what `pip install <arguments>` would put into an empty environment."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed"]
        subprocess.run([*command, "--report", str(report), *arguments], check=True)
        items = json.loads(report.read_text())["install"]
    found = (item["metadata"] for item in items)
    return {str(canonicalize_name(m["name"])): str(m["version"]) for m in found}


def complete_pins(direct: list[Requirement], kept: dict[str, str], torch: str) -> dict[str, str]:
    """Resolve the direct requirements beside one torch version, holding the kept pins."""
    alone = [str(r) for r in direct if r.name in WITHOUT_DEPENDENCIES]
    rest = [str(r) for r in direct if r.name not in WITHOUT_DEPENDENCIES]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write("".join(f"{name}=={version}\n" for name, version in kept.items()))
        constraints.flush()
        hold = ["-c", constraints.name]
        pins = resolve([*hold, f"torch=={torch}", *rest]) | resolve([*hold, "--no-deps", *alone])
    return {name: pins[name] for name in sorted(pins) if not NOT_LOCKED.fullmatch(name)}


def main() -> None:
    """Write the lock and say what changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch", required=True, help="the torch version to resolve beside")
    parser.add_argument("--upgrade", action="append", default=[], help="a package to set free")
    options = parser.parse_args()
    lock = ROOT / "requirements.lock"
    before = read_lock(lock.read_text()) if lock.exists() else {}
    direct = direct_requirements(tomllib.loads((ROOT / "pyproject.toml").read_text()))
    upgrade = frozenset(str(canonicalize_name(name)) for name in options.upgrade)
    print("resolving, about a minute", flush=True)
    try:
        pins = complete_pins(direct, kept_pins(before, direct, upgrade), options.torch)
    except subprocess.CalledProcessError:
        sys.exit("lock: pip found no solution (see above); name the packages in the way: UPGRADE=…")
    lock.write_text(HEADER + "".join(f"{name}=={version}\n" for name, version in pins.items()))
    for name in sorted(before.keys() | pins.keys()):
        if before.get(name) != pins.get(name):
            print(f"{name}: {before.get(name, 'new')} → {pins.get(name, 'removed')}")
    print(f"{lock.name}: {len(pins)} packages")


if __name__ == "__main__":
    main()
