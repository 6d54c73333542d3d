"""The command line: one line for a user's mistake, told before torch is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs import environment, sparc

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
