"""The command line: one line for a user's mistake, told before torch is imported."""

import subprocess
import sys
from pathlib import Path

import pytest
from hydra._internal.utils import get_args_parser

from sparc import app
from sparc.config import register_schema
from tests.runs import environment, sparc
from tests.sweep_run import make_sweep

MISTAKES = {
    "pruning.num_neuron=3": "did you mean pruning.num_neurons?",
    "evaluation.sampling.temprature=1": "did you mean evaluation.sampling.temperature?",
    "nonsense=1": "nonsense: no such key",
    "+nonsense=1": "nonsense: no such key",
    "pruning.num_neurons=abc": "pruning.num_neurons: Value 'abc'",
    "seed=1.5": "seed: Value '1.5'",
    "dataset.reference_seeds=[a]": "dataset.reference_seeds[0]: Value 'a'",
    "model=nothing": "model=nothing: no such option; choose one of: ",
    "experiment=nothing": "experiment=nothing: no such option",
    "hydra/launcher=nothing": "hydra/launcher=nothing: no such option",
    "hydra/launcher=local": "hydra/launcher=local: runs the jobs of a sweep; add -m",
    "model=hf": "model.path is not set: add model.path=",
    "a b": "cannot read the override 'a b'",
    "seed=0,1": "Ambiguous value for argument 'seed=0,1'",
    "pruning.num_neurons=-1": "pruning.num_neurons=-1: must not be negative",
    "pruning.num_neurons=99999": "only 2367 neurons to choose from",
    "pruning.layers=[7]": "the model has layers 0 to 2",
    "pruning=heads": "pruning=heads: reserved",
    "pruning=weights_global": "pruning=weights_global: reserved",
    "attribution.reduction=sum": "must be one of signed, abs_sample, abs_weight",
    "attribution.target.kind=tokens": "give at least one",
    "evaluation.sampling.top_p=1.5": "must be above 0 and at most 1",
    "evaluation.sampling.temperature=0": "set evaluation.sampling.samples=1",
    "evaluation.scorers=[]": "name at least one",
    "device=gpu": "device=gpu: must be auto, cpu, mps, cuda or cuda:N",
    "attribution.target.token_ids=[-1]": "must not hold negative numbers",
    "model.path=/nowhere": "model.path=/nowhere: no such folder",
    "dataset.undesired_category=calm": "must be one of dataset.categories",
    "paths.outputs=/dev/null/x": "paths.outputs=/dev/null/x: cannot be written (Not a directory)",
    "paths.cache=/dev/null/x": "paths.cache=/dev/null/x: cannot be written (Not a directory)",
}


@pytest.mark.parametrize("override", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(override: str, tmp_path: Path) -> None:
    done = sparc(override, home=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("sparc: ")
    assert MISTAKES[override] in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_a_mistake_anywhere_in_a_sweep_stops_it_first(tmp_path: Path) -> None:
    done = sparc("-m", "pruning.num_neurons=8,99999", home=tmp_path)
    assert done.returncode == 2
    assert "only 2367 neurons" in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_a_sweep_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = sparc("-m", "seed=0,1", "hydra.sweep.dir=file/in", home=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    (told,) = done.stderr.splitlines()
    assert told.startswith("sparc: file/in: ")
    assert "Not a directory; set paths.outputs" in told


def test_a_summary_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = make_sweep(tmp_path)
    (sweep / "sweep.json").mkdir()
    assert app._conclude(sweep, 0) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert "sweep.json" in told and "Is a directory; set paths.outputs" in told


def test_a_sweep_of_reports_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"status": "ok", "verdict": "none"}')
    done = sparc("-m", "stage=report", f"run={tmp_path}", "seed=0,1", home=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "sparc: stage=report renders one run: leave -m out\n"
    assert not (tmp_path / "outputs").exists()


def test_all_jobs_of_a_sweep_are_fetched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_CHECKED_JOBS", 2)
    register_schema()
    for stage, count in (("prefetch", 3), ("check", 2)):
        jobs = [[f"stage={stage}", f"seed={seed}"] for seed in range(3)]
        found = app._checked(jobs, get_args_parser().parse_args(["-m"]))
        assert [config.seed for config in found] == list(range(count))


def test_a_mistake_is_told_before_torch_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from sparc.app import main\n"
        "sys.argv = ['sparc', 'pruning.num_neurons=-1']\n"
        "try:\n    main()\nexcept SystemExit as error:\n    print(error.code)\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment(tmp_path),
        cwd=Path(__file__).parent.parent,
        check=True,
    )
    assert done.stdout.splitlines() == ["2", "[]"]


def test_a_launcher_that_is_not_installed_is_one_line(tmp_path: Path) -> None:
    code = (
        "import sys, sparc.app\n"
        "sparc.app.find_spec = lambda name: None\n"
        "sys.argv = ['sparc', '-m', 'hydra/launcher=slurm', 'seed=0,1']\n"
        "sparc.app.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment(tmp_path),
        cwd=Path(__file__).parent.parent,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "sparc: hydra/launcher=slurm: not installed here; run: pip install 'sparc[slurm]'\n"
    )


def test_a_sweep_over_a_groups_options(tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "pruning"
    mine.mkdir(parents=True)
    (mine / "few.yaml").write_text("method: neurons\nnum_neurons: -5\n")
    done = sparc("-m", "pruning=glob(few*)", "--config-dir", str(mine.parent), home=tmp_path)
    assert done.stderr == "sparc: pruning.num_neurons=-5: must not be negative\n"
    for nothing in ("attribution=glob(no*)", "seed=range(0)", "seed=glob(*)"):
        done = sparc("-m", nothing, home=tmp_path)
        assert done.returncode == 2
        assert done.stderr == f"sparc: {nothing}: no value at all, so there is no job to run\n"
    assert not (tmp_path / "outputs").exists()


def test_help_names_every_group(tmp_path: Path) -> None:
    done = sparc("--help", home=tmp_path)
    assert done.returncode == 0
    for group in ("model", "dataset", "attribution", "pruning", "evaluation", "tracking"):
        assert f"{group}: " in done.stdout
    assert "sparc -m pruning.num_neurons=8,16,32" in done.stdout
    assert "experiment: " in done.stdout


def test_the_whole_configuration_is_printed(tmp_path: Path) -> None:
    done = sparc("--cfg", "job", home=tmp_path)
    assert done.returncode == 0
    for line in ("num_neurons: 32", "reduction: signed", "temperature: 0.7", "stage: all"):
        assert line in done.stdout
