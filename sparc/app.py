"""The single entrypoint: checks the command line, then lets Hydra run one job or a sweep.

Configuration mistakes are told in one line with exit code 2 before torch is imported.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import hydra
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sparc.checks import check
from sparc.complaints import one_line
from sparc.config import NOT_CONTENT, Config, content, register_schema
from sparc.digests import digest
from sparc.errors import UserError
from sparc.locations import config_folder

_CHECKED_JOBS = 64  # of a sweep before it starts; every job checks itself again when it runs


def typed(composed: DictConfig) -> Config:
    """The composed configuration as dataclasses, checked.

    Raises UserError or an exception of OmegaConf for what cannot be.
    """
    plain = OmegaConf.to_container(composed, resolve=True)
    # Merging again refuses keys that were forced in with a plus sign.
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), plain))
    assert isinstance(config, Config)
    check(config)
    return config


def _jobs(arguments: argparse.Namespace) -> list[list[str]]:
    """The overrides of each job: one job, or the product of a sweep's values."""
    if not arguments.multirun:
        return [list(arguments.overrides)]
    overrides = OverridesParser.create().parse_overrides(list(arguments.overrides))
    return [list(job) for job in BasicSweeper.split_arguments(overrides, None)[0]]


def _compose(overrides: Sequence[str], arguments: argparse.Namespace) -> Config:
    extra = [f"hydra.searchpath=[file://{arguments.config_dir}]"] if arguments.config_dir else []
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return typed(compose(arguments.config_name or "config", [*overrides, *extra]))


def _is_content(override: str) -> bool:
    key = override.lstrip("+~").split("=")[0].split("@")[0]
    return key.split(".")[0].split("/")[0] not in (*NOT_CONTENT, "hydra")


def _sweep_folder(first: Config, jobs: Sequence[Sequence[str]]) -> str:
    """The same sweep finds the same folder again, wherever and on whatever it runs."""
    swept = sorted(sorted(filter(_is_content, job)) for job in jobs)
    key = digest({"first": content(first), "jobs": swept})[:10]
    return f"{first.paths.outputs}/sweeps/{first.name}-{key}"


def _prepare(arguments: argparse.Namespace) -> str | None:
    """Check every job's configuration; the folder of a sweep, None for a single run."""
    jobs = _jobs(arguments)
    configs = [_compose(job, arguments) for job in islice(jobs, _CHECKED_JOBS)]
    return _sweep_folder(configs[0], jobs) if arguments.multirun else None


def _job(composed: DictConfig) -> None:
    # OpenMP's threads spin while they wait, which makes two of them on a busy core several times
    # slower than one. Read once, when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from sparc.job import execute

    settings = HydraConfig.get()
    code = execute(typed(composed), Path(settings.runtime.output_dir))
    if code and settings.mode == RunMode.RUN:
        sys.exit(code)


def _failed_jobs(folder: Path) -> list[str]:
    """Lines about the jobs of a sweep that did not end well."""
    lines = []
    for path in sorted(folder.glob("*/results.json")):
        results = json.loads(path.read_text())
        if results["status"] != "ok":
            lines.append(f"{path.parent.name}: {results['status']}: {results['reason']}")
    return lines


def main() -> None:
    """Run `sparc` with the command line's overrides."""
    register_schema()
    arguments = get_args_parser().parse_args()
    informs = arguments.help or arguments.hydra_help or arguments.shell_completion
    try:
        sweep = None if informs else _prepare(arguments)
    except UserError as error:
        sys.exit(_complain(str(error)))
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(_complain(one_line(error)))
    if sweep and not any(o.startswith("hydra.sweep.dir=") for o in arguments.overrides):
        sys.argv.append(f"hydra.sweep.dir='{sweep}'")
    try:
        hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")(
            _job
        )()
    except KeyboardInterrupt:
        sys.exit(130)
    failed = _failed_jobs(Path(sweep)) if sweep else []
    if failed:
        print("\n".join(["jobs that did not end well:", *failed]), file=sys.stderr)
        sys.exit(1)


def _complain(message: str) -> int:
    print(f"sparc: {message}", file=sys.stderr)
    return 2
