"""Saved runs are somebody else's: read in bounds, told in a line, and nothing in them is obeyed."""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from sparc import compare, track
from sparc.app import typed
from sparc.checks import check
from sparc.config import register_schema
from sparc.config.locations import config_folder
from sparc.display.plain import Formatter
from sparc.errors import UserError
from sparc.experiment.reevaluate import with_saved_run
from sparc.report import render
from sparc.runs import Run
from sparc.runs.tree import plain_references
from sparc.storage.artifacts import write_json
from sparc.sweep import conclude
from sparc.tracking.records import describe
from tests.support.composed import composed
from tests.support.report_run import make_run
from tests.support.saved_runs import copied
from tests.support.sweep_run import make_sweep, table_of

SECRET = "correct horse battery staple"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    make_run(folder, prompts=4, samples=2, draws=1, resamples=20)
    return folder


def _composed(overrides: Sequence[str]) -> DictConfig:
    register_schema()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return compose("config", list(overrides))


def _foreign(folder: Path, overrides: Sequence[str], config: Any = None) -> Path:
    """A run folder that somebody has sent."""
    (folder / ".hydra").mkdir(parents=True)
    write_json(folder / "neurons.json", [])
    write_json(folder / ".hydra" / "overrides.yaml", list(overrides))
    if config is not None:
        write_json(folder / ".hydra" / "config.yaml", config)
    return folder


def _again(run: Path, *own: str) -> list[str]:
    given = ["stage=evaluate", f"run={run}", *own]
    return [*with_saved_run(given, _composed), *given]


def test_what_a_run_has_is_read_once_and_what_it_has_not_is_empty(run: Path) -> None:
    found = Run(run)
    assert found.results["status"] == "ok" and found.results is found.results
    assert len(found.selection) == 16 and found.selection[0] == (0, 0)
    assert len(found.completions) == 64 and found.explanations["texts"]
    assert found.config["name"] == "${model.name}" and found.overrides[0] == "seed=0"
    assert (found.references, found.hydra, found.contrast) == ([], {}, None)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("results.json", "7", "results must be a mapping"),
        ("results.json", '{"status": "ok", "status": "ok"}', "'status' stands twice"),
        ("results.json", '{"status": "fine"}', "results.status must be ok, failed, interrupted"),
        ("results.json", '{"status": "ok", "run": {"seconds": NaN}}', "NaN is no number"),
        ("results.json", '{"status": "ok", "run": {"seconds": 1e999}}', "1e999 is no number"),
        ("results.json", "[" * 100_000, "nested too deeply"),
        ("results.json", "[" * 41 + "]" * 41, "nested too deeply"),
        ("results.json", b"\xff", "not UTF-8 text"),
        ("results.json", None, "no such file; give the directory of a finished run"),
        ("results.json", os.mkfifo, "not a file"),
        ("results.json", Path.mkdir, "not a file"),
        ("results.json", lambda path: path.symlink_to("/dev/zero"), "not a file"),
        ("results.json", lambda path: path.symlink_to(path), "symbolic links"),
        ("results.json", lambda path: os.truncate(_touched(path), 10**10), "larger than the 64 MB"),
        ("completions.jsonl", '{"arm": "base', "not JSON, line 1"),
        (
            "completions.jsonl",
            '{"arm": "random", "category": "a", "prompt": "b", "sample": 0, "completion": "c", '
            '"score": null}',
            "record 1 lacks draw",
        ),
        ("neurons.json", '[{"layer": true, "index": 0}]', r"neurons[0].layer must be"),
        (
            "explanations.json",
            '{"contrast": {"edges": [], "counts": [], "cut": 0, "unit": 1}}',
            "edges must not be empty",
        ),
        ("contrast.safetensors", "", "not a run's contrast"),
        (".hydra/config.yaml", "a: &a [b]\nc: *a", "aliases are not read"),
        (".hydra/config.yaml", "a: !!python/object/apply:os.getcwd []", "tags are not read"),
        (".hydra/config.yaml", "- " * 1_000, "nested too deeply"),
        (".hydra/config.yaml", "a: " + "x" * 130_000, "larger than the 0.125 MB"),
        (".hydra/overrides.yaml", "[1]", "overrides[0] must be a text"),
    ],
)
def test_damage_is_told_in_a_line(name: str, content: Any, told: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if isinstance(content, str | bytes):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    elif content is not None:
        content(path)
    attribute = path.stem if path.parent == tmp_path or path.stem != "config" else "config"
    with pytest.raises(UserError) as error:
        getattr(Run(tmp_path), attribute)
    assert told in str(error.value) and str(path) in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def _touched(path: Path) -> Path:
    path.touch()
    return path


def test_references_between_settings_are_read_off_and_nothing_else_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_PASSWORD", SECRET)
    tree = {"name": "${a.b}-x", "a": {"b": "tiny", "c": "${oc.env:MY_PASSWORD}", "d": "${a.c}"}}
    assert plain_references(tree)["name"] == "tiny-x"
    assert plain_references(tree)["a"] == tree["a"]
    bomb = {f"k{i}": f"${{k{i + 1}}}" * 9 for i in range(40)}
    assert plain_references(bomb | {"k40": "x"})["k38"] == "${k39}" * 9


HOSTILE = {
    "dataset.name=${oc.env:MY_PASSWORD}": "holds an interpolation",
    "dataset.name='${oc.env:MY_PASSWORD}'": "holds an interpolation",
    r"dataset.name=$\{oc.env:MY_PASSWORD\}": "holds an interpolation",
    "dataset.categories=[a,'${oc.env:MY_PASSWORD}']": "holds an interpolation",
    "dataset._target_=os.getcwd": "names something to be called",
    "dataset.texts={_target_:os.getcwd}": "names something to be called",
    "dataset.texts.others=[{_target_:os.getcwd}]": "names something to be called",
    "dataset={_target_:os.getcwd}": "names no packaged option",
    "dataset=../../../../somewhere/evil": "names no packaged option",
    "experiment=/somewhere/evil": "names no packaged option",
    "+evaluation.more=1": "adds, deletes or moves a key",
    "~evaluation.budget": "adds, deletes or moves a key",
    "dataset@model=jsonl": "adds, deletes or moves a key",
    "dataset/more=jsonl": "adds, deletes or moves a key",
    "seed=1,2": "has several values",
    "seed=range(1000000000)": "has several values",
    "evaluation.prompts=" + "[" * 3_000: "is no override",
    "x" * 5_000: "is no override",
    "evaluation.prompts": "is no override",
}


@pytest.mark.parametrize("override", HOSTILE, ids=lambda text: text[:40])
def test_a_foreign_command_line_is_not_obeyed(
    override: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_PASSWORD", SECRET)
    run = _foreign(tmp_path / "run", ["experiment=quick", override])
    with pytest.raises(UserError, match=HOSTILE[override]) as error:
        _again(run)
    assert "\n" not in str(error.value) and SECRET not in str(error.value)
    assert len(str(error.value)) < 400 + len(str(run))


def test_where_it_ran_is_dropped(tmp_path: Path) -> None:
    theirs = [
        *("hydra.run.dir=/elsewhere", "+hydra.searchpath=[file:///evil]", "paths.cache=/x"),
        *("hydra.job_logging.handlers.file.filename=/x", "hydra/launcher=slurm", "device=${x:}"),
    ]
    stated = _again(_foreign(tmp_path / "run", ["experiment=quick", *theirs]))
    assert not any("hydra" in each or "paths" in each or "device" in each for each in stated)


def test_a_foreign_config_gives_values_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_PASSWORD", SECRET)
    config = {"dataset": {"_target_": "os.getcwd", "name": r"it's \ 'theirs\\'"}}
    run = _foreign(tmp_path / "run", ["experiment=quick"], config)
    found = typed(_composed(_again(run)))
    assert found.dataset.name == config["dataset"]["name"]
    assert found.dataset._target_ == "sparc.tasks.embedded.embedded"
    config["dataset"]["name"] = "${oc.env:MY_PASSWORD}"
    write_json(run / ".hydra" / "config.yaml", config)
    with pytest.raises(UserError, match=r"dataset\.name=\$\{oc\.env:MY_PASSWORD\} holds") as error:
        _again(run)
    assert SECRET not in str(error.value)
    assert "dataset.name=mine" in _again(run, "dataset.name=mine")  # what is said anew is said
    others = {"dataset": {"texts": {"others": [{"a:1,_target_:os.getcwd,b": 1}]}}}
    write_json(run / ".hydra" / "config.yaml", others)
    with pytest.raises(UserError, match="names something to be called"):
        _again(run)


def test_own_command_lines_go_on_working(tmp_path: Path) -> None:
    own = [
        *("experiment=quick", "name=${model.name}-again", "evaluation.detoxify.source=original"),
        *("dataset.detoxify=unbiased", "evaluation.scorers=[detoxify,lexicon]"),
    ]
    saved: Any = json.loads(json.dumps({"name": "${model.name}-again", "model": {"name": "tiny"}}))
    config = composed(*_again(_foreign(tmp_path / "run", own, saved)))
    assert config.name == "tiny-again" and config.evaluation.detoxify.source == "original"
    assert config.evaluation.scorers == ["detoxify", "lexicon"]


def test_tracking_tells_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_PASSWORD", SECRET)
    config = {"name": "${oc.env:MY_PASSWORD}", "model": {"name": "${oc.env:MY_PASSWORD}"}}
    run = _foreign(tmp_path / "run", [], config)
    assert SECRET not in str(describe(run, []))


def test_a_bad_run_is_a_row_of_its_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_sweep(tmp_path, hostile=False)
    jobs = sorted(each for each in folder.iterdir() if each.is_dir())
    (jobs[0] / "results.json").write_text("7")
    results = json.loads((jobs[1] / "results.json").read_text())
    del results["change"]["toxicity"]["rate"]
    write_json(jobs[1] / "results.json", results)
    (jobs[2] / ".hydra" / "config.yaml").write_text("a: *b")
    assert conclude(folder) == 1
    rows = {row["job"]: row for row in table_of(folder)}
    reasons = ("must be a mapping", "has no toxicity.rate", "aliases")
    for job, reason in zip(jobs[:3], reasons, strict=True):
        assert rows[job.name]["status"] == "unreadable" and reason in rows[job.name]["reason"]
    assert [row["status"] for row in rows.values()].count("ok") == len(jobs) - 3 == 21
    printed = capsys.readouterr()
    assert "21 done, 3 failed, 1 missing" in printed.out
    assert printed.err.count("unreadable: ") == 3


def test_a_bad_run_has_no_report(run: Path, tmp_path: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    del results["score_report"]
    write_json(tmp_path / "results.json", results)
    with pytest.raises(UserError, match=r"has no score_report \(status: ok\)"):
        check(composed("stage=report", f"run={tmp_path}"))


def test_a_removed_neuron_may_have_no_score(run: Path, tmp_path: Path) -> None:
    folder = copied(run, tmp_path / "scoreless")
    records = Run(run).neurons
    write_json(folder / "neurons.json", [{k: r[k] for k in r if k != "score"} for r in records])
    page = render(Run(folder).reported, folder)
    assert "contrast \u2013</span>" in page


def test_a_comparison_has_a_policy_and_shows_what_hides(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        results = {
            "status": "ok",
            "run": {"name": f"{name}\x1b[2J\u202e<script>"},
            "model": {"fingerprint": "one", "neurons": 8},
            "selection": {"method": "l\x1brp", "num_pruned": 1, "per_layer": [1, 0]},
        }
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "results.json", results)
        write_json(tmp_path / name / "neurons.json", [{"layer": 0, "index": 3}])
    runs = [str(tmp_path / name) for name in ("a", "b")]
    assert compare.main([*runs, "--output", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert 'http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;' in page
    assert "\u241b[2J&lt;U+202E&gt;&lt;script&gt;" in page
    assert not set(page + capsys.readouterr().out) & {"\x1b", "\u202e"}
    write_json(
        tmp_path / "b" / "neurons.json", [{"layer": 0, "index": 3}, {"layer": 1, "index": 9}]
    )
    assert compare.main(runs) == 2
    assert "neurons beyond 2 layers of 4" in capsys.readouterr().err


def test_broken_artifacts_are_not_logged(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "one\x1b[31m"
    (folder / ".hydra").mkdir(parents=True)
    (folder / "results.json").write_bytes((run / "results.json").read_bytes())
    (folder / "completions.jsonl").write_text('{"arm": "bas')
    assert track.main([str(tmp_path), "--mode", "offline"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "completions.jsonl: not JSON, line 1" in line and "\x1b" not in line
    assert not (folder / "wandb").exists()


def test_the_log_holds_no_control_characters() -> None:
    record = logging.LogRecord("n", logging.INFO, "f", 1, "said %s", ("\x1b]0;x\x07\nmore",), None)
    assert Formatter("%(message)s").format(record) == "said \u241b]0;x\u2407\nmore"
    formatters = composed_logging()["formatters"]
    assert {each["class"] for each in formatters.values()} == {"sparc.display.plain.Formatter"}


def composed_logging() -> Any:
    register_schema()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return compose("config", [], return_hydra_config=True).hydra.job_logging
