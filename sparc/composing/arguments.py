"""The command line: its flags, its overrides as Hydra reads them, and what cannot be among them.

Hydra's own parser is not used, as some of its flags have no place here.
"""

import argparse
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

import sparc
from sparc.config import Config
from sparc.config.complaints import hints, no_such_key
from sparc.errors import UserError

GROUPS = ("model", "dataset", "attribution", "pruning", "evaluation", "tracking", "experiment")
LONGEST = 20_000  # characters of an override
_SHOWN = 100  # of them in a complaint
_PICKLED = "it would run what is pickled in a file; start the job again instead"
_PACKAGED = "the packaged configuration stays; add a folder of your own with --config-dir"
_REFUSED = {
    ("--experimental-rerun",): _PICKLED,
    ("--config-path", "-cp"): _PACKAGED,
    ("--package", "-p"): "print the whole configuration: sparc --cfg job",
    ("--hydra-help",): "see sparc --help",
}
_REFUSED_KEYS = {
    "hydra.mode": "add -m for a sweep",
    "hydra.searchpath": "add a folder of configuration files with --config-dir",
    "hydra.job.chdir": "paths are those of the folder in which sparc is started",
    "hydra.output_subdir": "runs are found by what Hydra writes into .hydra",
    "hydra.sweep.subdir": "a job's folder is named by what the job changes",
}
_INFORMATION = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")

_QUOTED = r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\""""
_INTERPOLATION = r"\$\{[^}]*\}"
_PLAIN = rf"(?:\\.|{_INTERPOLATION}|[^\[\](){{}},'\"\\])+"
_PARTS = re.compile(rf"{_QUOTED}|[\[\](){{}},]|{_PLAIN}|.", re.DOTALL)
_READABLE = re.compile(r"[\w\s/\\+.$%*@?|:-]*", re.ASCII)  # what Hydra takes without quotes


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[:500]}; see sparc --help")


class _Refuse(argparse.Action):
    def __call__(self, _parser: Any, _given: Any, _values: Any, option: str | None = None) -> None:
        raise UserError(f"{option}: not for sparc: {self.help}")


def parser() -> argparse.ArgumentParser:
    """The flags of `sparc`: those of Hydra that have a meaning here, under Hydra's names."""
    made = _Parser("sparc", add_help=False, allow_abbrev=False)
    made.add_argument("overrides", nargs="*", default=[], help="key=value")
    made.add_argument("--help", "-h", action="store_true")
    made.add_argument("--version", action="version", version=f"sparc {sparc.__version__}")
    does = made.add_mutually_exclusive_group()
    does.add_argument("--multirun", "-m", action="store_true")
    does.add_argument("--run", "-r", action="store_true")
    does.add_argument("--cfg", "-c", choices=("job", "hydra", "all"))
    does.add_argument("--info", "-i", nargs="?", const="all", choices=_INFORMATION)
    does.add_argument("--shell-completion", "-sc", action="store_true")
    made.add_argument("--resolve", action="store_true")
    made.add_argument("--config-name", "-cn", default="config")
    made.add_argument("--config-dir", "-cd")
    for flags, why in _REFUSED.items():
        made.add_argument(*flags, action=_Refuse, nargs="?", help=why)
    return made


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The flags and overrides of a command line, the overrides in Hydra's words.

    Raises UserError for what cannot be read.
    """
    given = parser().parse_intermixed_args(list(arguments))
    if given.resolve and not given.cfg:
        raise UserError("--resolve: says how --cfg prints the configuration; add --cfg job")
    if given.config_dir is not None:
        given.config_dir = os.path.abspath(os.path.expanduser(given.config_dir))
        if not os.path.isdir(given.config_dir):
            raise UserError(f"--config-dir={given.config_dir}: no such folder")
    for override in given.overrides:
        if len(override) > LONGEST:
            raise UserError(
                f"{override[:_SHOWN]}...: longer than {LONGEST} characters; write it into a file "
                "of --config-dir"
            )
    if not given.shell_completion:
        given.overrides = [readable(each) for each in given.overrides]
    return given


def readable(override: str) -> str:
    """An override as Hydra reads it: `~/` spelt out, and quotes around what it needs them for.

    Hydra's grammar knows ASCII words and a few signs; `name=日本`, `run=a=b` and `path=~/x` are
    beyond it.
    """
    key, sign, value = override.partition("=")
    if not sign:
        return override
    depth: list[str] = []
    parts = []
    for match in _PARTS.finditer(value):
        part = match.group()
        if part in "([{":
            depth.append(part)
        elif part in ")]}" and depth:
            depth.pop()
        inside = depth[-1] if depth else ""
        parts.append(_dict_item(part) if inside == "{" else _text(part, inside))
    return f"{key}={''.join(parts)}"


def _dict_item(part: str) -> str:
    key, sign, value = part.partition(":")
    return f"{key}:{_text(value, '{')}" if sign and part[0] not in "'\"" else _text(part, "{")


def _text(part: str, inside: str) -> str:
    """A part of a value, in quotes if Hydra could not read it without."""
    bare = part.strip(" \t")
    if not bare or bare[0] in "'\"[](){},":
        return part
    if re.match(r"~[\w.-]*(/|$)", bare):
        return quoted(os.path.expanduser(bare))
    argument = inside == "(" and "=" in bare  # of a function, by its name
    clear = _READABLE.fullmatch(re.sub(_INTERPOLATION, "", bare)) or "\\" in bare
    return part if argument or clear else quoted(bare)


def quoted(text: str) -> str:
    """`text` in quotes, so that Hydra reads it as it is."""
    escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text)
    return f"'{escaped}'"


def refuse_impossible(overrides: Sequence[str], *, own_groups: bool) -> None:
    """Raise UserError for an override that Hydra would take, or take amiss, without sense.

    Args:
        overrides: Those of one job.
        own_groups: Whether a folder of the user's may hold more groups.
    """
    known = hints(Config)
    for each in OverridesParser.create().parse_overrides(list(overrides)):
        for complaint in _complaints(each, known, own_groups):
            raise UserError(complaint)


def _complaints(each: Override, known: Mapping[str, Any], own_groups: bool) -> Iterator[str]:
    key, said = str(each.key_or_group), str(each.input_line)[:_SHOWN]
    if each.is_delete():
        yield f"{said}: nothing can be left out of the configuration; give a value: key=value"
    if each.package is not None:
        yield f"{said}: no group has another place here; write {key}=..."
    if key in _REFUSED_KEYS:
        yield f"{said}: not for sparc: {_REFUSED_KEYS[key]}"
    if key in (*GROUPS, "hydra") or "/" in key:
        option = each.value()
        if each.is_sweep_override() or not isinstance(option, str | dict) or ".." in option:
            yield f"{said}: choose one option of the group by its name, {key}=NAME"
    elif not key.startswith("hydra.") and key not in known and not own_groups:
        yield no_such_key(key, list(known))
    elif known.get(key) is bool and isinstance(each.value(), int) and each.value() not in (0, 1):
        yield f"{said}: must be true or false"  # Hydra would take any number for true
