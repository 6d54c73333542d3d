"""What the report is made of: the files of a run directory."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from sparc.storage.artifacts import read_lines


@dataclass(frozen=True)
class Artifacts:
    """Everything beside results.json; parts that a run does not have are empty.

    explanations: explanations.json, {} without it. config: the composed settings.
    config_text: the same as written. overrides: the command line's.
    """

    completions: list[dict[str, Any]]
    neurons: list[dict[str, Any]]
    explanations: Mapping[str, Any]
    config: Mapping[str, Any]
    config_text: str
    overrides: list[str]


def _json(path: Path, default: Any) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else default


def _yaml(path: Path, default: Any) -> Any:
    # not resolved: an interpolation in an override belongs to the command, not to the report
    if not path.is_file():
        return default
    return OmegaConf.to_container(OmegaConf.load(path), resolve=False)


def read_artifacts(folder: Path) -> Artifacts:
    """Read the artifacts of the run in `folder`."""
    completions, hydra = folder / "completions.jsonl", folder / ".hydra"
    config = hydra / "config.yaml"
    return Artifacts(
        completions=read_lines(completions) if completions.is_file() else [],
        neurons=_json(folder / "neurons.json", []),
        explanations=_json(folder / "explanations.json", {}),
        config=_yaml(config, {}),
        config_text=config.read_text(encoding="utf-8") if config.is_file() else "",
        overrides=[str(each) for each in _yaml(hydra / "overrides.yaml", [])],
    )
