"""requirements.lock and pyproject.toml agree, and the lock is complete."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, distribution

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.lock import (
    NOT_LOCKED,
    ROOT,
    WITHOUT_DEPENDENCIES,
    direct_requirements,
    kept_pins,
    read_lock,
)

# Each replaces torch, drags CUDA libraries in, or breaks the import of transformers.
HARMFUL = {"torchvision", "zennit", "open-clip-torch", "bitsandbytes", "torchaudio"}


def disagreements(direct: list[Requirement], pins: dict[str, str]) -> list[str]:
    """What is wrong with `pins` in view of the direct requirements, one line each."""
    found = []
    for requirement in direct:
        name = canonicalize_name(requirement.name)
        if NOT_LOCKED.fullmatch(name):
            continue
        if name not in pins:
            found.append(f"{name} is missing")
        elif not requirement.specifier.contains(pins[name]):
            found.append(f"{name}=={pins[name]} is not {requirement.specifier}")
    harmful = [name for name in pins if name in HARMFUL or NOT_LOCKED.fullmatch(name)]
    return found + [f"{name} must not be locked" for name in harmful]


def unmet(name: str, pins: dict[str, str], python: str) -> list[str]:
    """Requirements of an installed package, under one Python version, that `pins` do not meet."""
    if name in WITHOUT_DEPENDENCIES:
        return []
    try:
        installed = distribution(name)
    except PackageNotFoundError:
        return []
    if installed.version != pins[name]:
        return []  # another environment than the locked one; its needs may differ
    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    found = []
    for requirement in map(Requirement, installed.requires or []):
        needed = canonicalize_name(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate(environment):
            continue
        if NOT_LOCKED.fullmatch(needed):
            continue
        if needed not in pins or not requirement.specifier.contains(pins[needed], True):
            found.append(f"{name} needs {requirement}, locked is {pins.get(needed)}")
    return found


@pytest.fixture(scope="module")
def direct() -> list[Requirement]:
    return direct_requirements(tomllib.loads((ROOT / "pyproject.toml").read_text()))


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    return read_lock((ROOT / "requirements.lock").read_text())


def test_lock_agrees_with_pyproject(direct: list[Requirement], pins: dict[str, str]) -> None:
    assert disagreements(direct, pins) == []


@pytest.mark.parametrize("python", ["3.11", "3.12"])
def test_lock_is_complete(pins: dict[str, str], python: str) -> None:
    assert [line for name in pins for line in unmet(name, pins, python)] == []


def test_every_disagreement_is_found(direct: list[Requirement], pins: dict[str, str]) -> None:
    without = {name: version for name, version in pins.items() if name != "submitit"}
    assert disagreements(direct, without) == ["submitit is missing"]
    assert disagreements(direct, pins | {"hydra-core": "1.4.0"}) == [
        "hydra-core==1.4.0 is not <1.4,>=1.3.2"
    ]
    for name in ("torchvision", "torch", "nvidia-cublas-cu12", "bitsandbytes"):
        assert disagreements(direct, pins | {name: "1"}) == [f"{name} must not be locked"]
    without = {name: version for name, version in pins.items() if name != "tokenizers"}
    if distribution("transformers").version == pins["transformers"]:
        assert any("tokenizers" in line for line in unmet("transformers", without, "3.11"))


def test_pins_are_kept_unless_out_of_range_or_named() -> None:
    pins = {"rich": "12.0", "scipy": "1.14.0", "numpy": "2.1.0", "six": "1.17.0"}
    direct = [Requirement("rich>=13"), Requirement("scipy>=1.13"), Requirement("numpy>=2")]
    kept = kept_pins(pins, direct, frozenset({"numpy"}))
    assert kept == {"scipy": "1.14.0", "six": "1.17.0"}


@pytest.mark.parametrize("line", ["rich>=13", "rich", "--extra-index-url x", "a @ file:///b"])
def test_a_line_that_pins_nothing_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="expected name==version"):
        read_lock(f"six==1.17.0\n{line}\n")
