"""Damaged and hostile run folders: all that reads them serves or refuses, in one line."""

import io
import json
import random
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from safetensors.numpy import save_file

from sparc import compare, sweep, track
from sparc.components.from_file import origin, read_selection
from sparc.config import TrackingConfig, register_schema
from sparc.config.complaints import one_line, tell
from sparc.config.locations import config_folder
from sparc.errors import UserError
from sparc.experiment.reevaluate import with_saved_run
from sparc.report import render
from sparc.runs import Run
from sparc.runs.references import saved_fingerprint, saved_records, saved_texts
from sparc.storage.artifacts import write_json, write_lines, write_text
from sparc.tracking.records import describe, measurements, summary
from tests.fuzz.budget import budget, case
from tests.support.report_run import make_run
from tests.support.saved_runs import copied, damage

SECRET = "hunter2-of-the-one-who-reads"
OVERRIDES = ["experiment=quick", "evaluation.prompts=8", "seed=0"]
HYDRA = {"hydra": {"mode": "RUN", "overrides": {"task": OVERRIDES}, "runtime": {"choices": {}}}}


@cache
def _composed_once(overrides: tuple[str, ...]) -> DictConfig:
    register_schema()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return compose("config", list(overrides))


def _composed(overrides: Sequence[str]) -> DictConfig:
    return _composed_once(tuple(overrides))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two whole runs, `one` and `two`."""
    folder = tmp_path_factory.mktemp("sweep")
    for name in ("one", "two"):
        run = folder / name
        run.mkdir()
        results = make_run(run, prompts=6, samples=2, draws=1, resamples=20)
        chosen = results["selection"]
        records = [{"layer": i // 8, "index": i, "score": -1.0} for i in range(16)]
        cards = json.loads((run / "neurons.json").read_text())
        write_json(run / "neurons.json", [{**c, **r} for c, r in zip(cards, records, strict=True)])
        point = {key: results[key] for key in ("pruned", "change", "control")}
        results["curve"] = [{"num_neurons": 4, **point}]
        results["run"]["name"], results["selection"] = name, chosen | {"per_layer": [8, 8]}
        write_json(run / "results.json", results)
        sample = {"seed": 0, "text": "a b", "token_ids": [1, 2]}
        write_lines(
            run / "references.jsonl", [{"set": s, **sample} for s in ("general", "undesired")]
        )
        save_file({"contrast": np.zeros((2, 48))}, run / "contrast.safetensors")
        config = _composed([*OVERRIDES, f"name={name}"])
        from omegaconf import OmegaConf

        OmegaConf.save(config, run / ".hydra" / "config.yaml")
        write_json(run / ".hydra" / "overrides.yaml", [*OVERRIDES, f"name={name}"])
        write_json(run / ".hydra" / "hydra.yaml", HYDRA)
    return folder


def _report(folder: Path) -> int:
    page = render(Run(folder / "one").reported, folder / "one")
    write_text(folder / "one" / "report.html", page)
    _is_harmless(page)
    return 0


def _compare(folder: Path) -> int:
    runs = [str(folder / name) for name in ("one", "two")]
    code = compare.main([*runs, "--output", str(folder / "out")])
    if code == 0:
        _is_harmless((folder / "out" / "comparison.html").read_text())
    return code


def _sweep(folder: Path) -> int:
    code = sweep.conclude(folder)
    _is_harmless((folder / "sweep.html").read_text())
    rows = json.loads((folder / "sweep.json").read_text())["rows"]
    assert any(row["job"] == "two" and row["status"] == "ok" for row in rows)  # the others stand
    one = [row for row in rows if row["job"] == "one"]
    assert code == 1 or all(row["status"] == "ok" for row in one)
    return code


def _track(folder: Path) -> int:
    """All but what W&B itself does."""
    run = folder / "one"
    track.exit_code(run)
    describe(run, TrackingConfig().tags)
    summary(Run(run).results)
    measurements(Run(run).results)
    return 0


class _Model:
    """What a selection is held against."""

    name, blocks, neurons_per_layer = "tiny", (None, None), 48


def _selection(folder: Path) -> int:
    run = str(folder / "one")
    model: Any = _Model()
    assert read_selection(run, model).count <= 16
    assert origin(run)["path"] == run
    return 0


def _references(folder: Path) -> int:
    run = str(folder / "one")
    assert len(saved_records(run, "general", 0)) == 1
    saved_texts(run)
    saved_fingerprint(run)
    return 0


def _evaluate(folder: Path) -> int:
    own = ["stage=evaluate", f"run={folder / 'one'}"]
    stated = with_saved_run(own, _composed)
    assert not any("${" in each or "_target_" in each for each in stated)
    return 0


# The file without which a reader has nothing to tell of a run.
NEEDED = {
    _report: "results.json",
    _compare: "results.json",
    _sweep: "results.json",
    _track: "results.json",
    _selection: "neurons.json",
    _references: "references.jsonl",
    _evaluate: ".hydra/overrides.yaml",
}
READERS: tuple[Callable[[Path], int], ...] = (
    *(_report, _compare, _sweep, _track, _selection, _references, _evaluate),
)


def _broken(path: Path) -> bool:
    """Whether no reader can make anything of the file: it is none, is cut or holds no JSON."""
    if not path.is_file():
        return True
    lines = path.suffix == ".jsonl"
    try:
        text = path.read_text()
        parsed = [json.loads(each) for each in (text.splitlines() if lines else [text])]
    except (ValueError, RecursionError):
        return True
    wanted = list if path.name in ("neurons.json", "overrides.yaml") else dict
    return not all(parsed and isinstance(each, wanted) for each in parsed)


def _is_harmless(page: str) -> None:
    assert page.encode() and not set(page) & {"\x1b", "\x07", "\u202e", "\ud800"}
    assert "Content-Security-Policy" in page and SECRET not in page
    for attack in ("<img src=x", "<script>window", "</script><script", '<a href="javascript'):
        assert attack not in page


def _outcome(reader: Callable[[Path], int], folder: Path) -> tuple[int, str]:
    out, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        try:
            code = reader(folder)
        except UserError as error:
            code = tell(str(error))
        except (HydraException, OmegaConfBaseException) as error:  # of overrides that were saved
            code = tell(one_line(error))
    said = out.getvalue() + errors.getvalue()
    assert not set(said) & {"\x1b", "\x07", "\u202e"} and SECRET not in said
    if code == 2:
        assert len(errors.getvalue().splitlines()) == 1, errors.getvalue()
    return code, said


@example(seed=-1)
@given(seed=st.integers(0, 10**6))
@budget(small=25, large=600)
def test_a_damaged_run_is_served_or_refused_in_a_line(seed: int, base: Path) -> None:
    folder = copied(base, base.parent / "damaged")
    chance = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch, case("run folders"):
        patch.setenv("SECRET_OF_MINE", SECRET)
        name = damage(folder / "one", chance) if seed >= 0 else None
        readers = READERS if seed < 0 else (chance.choice(READERS),)
        found = {reader.__name__: _outcome(reader, folder) for reader in readers}
        broken = name is not None and _broken(folder / "one" / name)
    for reader in readers:
        assert not (broken and name == NEEDED[reader] and found[reader.__name__][0] == 0), name
    codes = {code for code, _ in found.values()}
    assert codes <= ({0} if name is None else {0, 1, 2}), (name, found)
