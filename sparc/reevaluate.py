"""stage=evaluate: an existing run's selection, measured again under other settings.

The command line of the saved run comes first, the present one after it, so that Hydra composes
the saved run's settings with what is new. Where a file of `conf` has changed since, the saved
value holds. The selection is read as with pruning=from_file.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from sparc.errors import UserError
from sparc.reference_files import REFERENCES_FILE
from sparc.sweeps.jobs import changes_content

_READ = ("model", "dataset", "evaluation")
_NOT_SAVED = ("stage", "pruning")
_KEPT = ("pruning.save_model",)
_SETS = ("dataset.general", "dataset.undesired")
_REFERENCES = (*_SETS, "dataset.reference_seeds")
Compose = Callable[[list[str]], DictConfig]


def with_saved_run(overrides: Sequence[str], compose: Compose) -> list[str]:
    """What goes before `overrides` of a command line: nothing unless they say stage=evaluate.

    compose: the configuration of some overrides. Raises UserError where `overrides` name no run,
    or one whose selection or command line is not there, and for an override of what only
    attribution and selection read.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    if _last(parsed, "stage") != "evaluate":
        return []
    run = _last(parsed, "run")
    swept = [each.input_line for each in parsed if _key(each) == "run" and each.is_sweep_override()]
    if swept:
        raise UserError(f"{swept[0]}: stage=evaluate takes one run; start it once for each")
    if not isinstance(run, str):
        raise UserError("stage=evaluate measures one saved run again: add run=outputs/runs/...")
    for complaint in _complaints(parsed):
        raise UserError(complaint)
    groups = [each for each in parsed if _is_group(each)]
    replaced = [_key(each) for each in groups]
    saved = _saved(Path(run), replaced)
    saved += _as_it_was(Path(run), saved, replaced, compose)
    saved += _instead(saved, [str(each.input_line) for each in groups], compose)
    selection = ["pruning=from_file", f"pruning.path={_quoted(run)}", "pruning.curve=[]"]
    if (Path(run) / REFERENCES_FILE).is_file():  # so that no data set needs texts to attribute
        selection += [f"{each}.from_run={_quoted(run)}" for each in _SETS]
    return [*saved, *selection]


def _last(parsed: Sequence[Override], key: str) -> Any:
    """The value that a command line gives `key`; None without one."""
    values = [each.value() for each in parsed if _key(each) == key]
    return values[-1] if values else None


def _key(override: Override) -> str:
    return str(override.key_or_group)


def _is_group(override: Override) -> bool:
    return _key(override) in (*_READ, "tracking")


def _below(key: str, parents: Sequence[str]) -> bool:
    return any(key == parent or key.startswith(f"{parent}.") for parent in parents)


def _complaints(parsed: Sequence[Override]) -> Iterator[str]:
    new_data = any(_key(each) == "dataset" for each in parsed)
    fixed = ["attribution", "pruning", *(() if new_data else _REFERENCES)]
    for each in parsed:
        key, said = _key(each), each.input_line
        if key == "experiment":
            yield f"{said}: stage=evaluate begins with the saved run's settings; name what differs"
        if _below(key, fixed) and key not in _KEPT:
            yield f"{said}: stage=evaluate selects nothing anew, so it has no effect; leave it out"
        if _is_group(each) and each.is_sweep_override():
            yield f"{said}: stage=evaluate takes one option of a group; sweep over its values"


def _saved(run: Path, replaced: Sequence[str]) -> list[str]:
    """The overrides that made `run`, without those of where it ran and of `replaced` groups."""
    if not (run / "neurons.json").is_file():
        raise UserError(f"run={run}: holds no neurons.json; give a finished run's directory")
    file = run / ".hydra" / "overrides.yaml"
    if not file.is_file():
        raise UserError(f"run={run}: holds no {file.relative_to(run)}, the command line it came of")
    # not resolved: an interpolation belongs to the command
    saved = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    assert isinstance(saved, list)
    lines = [str(each) for each in saved]
    parsed = OverridesParser.create().parse_overrides(lines)
    left_out = (*_NOT_SAVED, *replaced)
    return [
        line
        for line, each in zip(lines, parsed, strict=True)
        if changes_content(line) and not _below(_key(each), left_out)
    ]


def _as_it_was(run: Path, saved: list[str], replaced: list[str], compose: Compose) -> list[str]:
    """Overrides that give the run's own values to what the files of `conf` now say otherwise."""
    file = run / ".hydra" / "config.yaml"
    if not file.is_file():
        return []
    composed, then = compose(saved), OmegaConf.load(file)
    assert isinstance(then, DictConfig)
    parts = [name for name in (*_READ, "seed") if name not in replaced and name in then]
    now = dict(item for name in parts for item in _leaves(composed, name))
    before = [item for name in parts for item in _leaves(then, name)]
    return [
        f"{key}={_quoted(value)}"
        for key, value in before
        if key in now and now[key] != value and not key.endswith("._target_")
    ]


def _instead(saved: list[str], groups: list[str], compose: Compose) -> list[str]:
    """Overrides that give `groups` their own values where the saved experiment has others.

    Hydra lets an experiment's values win over those of any group that is named beside it.
    """
    mixed, own = compose([*saved, *groups]), compose(groups)
    names = [group.partition("=")[0] for group in groups]
    before = dict(item for name in names for item in _leaves(mixed, name))
    after = dict(item for name in names for item in _leaves(own, name))
    return [f"{key}={_quoted(value)}" for key, value in after.items() if before[key] != value]


def _leaves(composed: DictConfig, name: str) -> Iterator[tuple[str, Any]]:
    """Dotted key and value, not resolved, of everything in a group."""
    plain: Any = OmegaConf.to_container(composed, resolve=False)

    def below(key: str, value: Any) -> Iterator[tuple[str, Any]]:
        if not isinstance(value, dict):
            yield key, value
            return
        for part, each in value.items():
            yield from below(f"{key}.{part}", each)

    yield from below(name, plain[name])


def _quoted(value: Any) -> str:
    """A value as Hydra's command line has it."""
    if isinstance(value, list):
        return f"[{','.join(map(_quoted, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_quoted(each)}" for key, each in value.items()) + "}"
    if not isinstance(value, str):
        return "null" if value is None else str(value).lower()
    escaped = value.replace("'", r"\'")
    return value if value == "???" else f"'{escaped}'"
