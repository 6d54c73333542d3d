"""A sweep's folder in no time: made-up runs at several methods, amounts, splits and seeds."""

import copy
import csv
import io
import json
from itertools import product
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from sparc.storage.artifacts import write_json
from sparc.sweeps.identity import job_folder
from tests.support.report_run import HOSTILE, make_run

METHODS, SPLITS, AMOUNTS, SEEDS = ("lrp", "wanda"), ("held_out", "validation"), (8, 16, 32), (0, 1)
FALL = {8: -0.3, 16: -0.9, 32: -0.95}
COST = {"lrp": 0.001, "wanda": 0.004}  # rise of general perplexity by neuron removed
FORMULA = '=HYPERLINK("http://evil","x")'


def change(relative: float, half: float = 0.05, p_value: float = 0.001) -> dict[str, Any]:
    """A leaf of a tree of changes around `relative`."""
    bounds = [relative - half, relative + half]
    return {"absolute": relative / 2, "relative": relative, "ci95": bounds, "p_value": p_value}


def results_like(run: dict[str, Any], method: str, split: str, amount: int, seed: int) -> Any:
    """The results of a run that removed `amount` neurons; the seed moves them a little."""
    results = copy.deepcopy(run)
    results["run"] |= {"seed": seed, "name": "sweep"}
    results["selection"] |= {"method": method, "num_pruned": amount}
    results["evaluation"] |= {"split": split, "smallest_detectable": 0.2}
    random = results["control"]["random"]
    fall = FALL[amount] + 0.02 * seed
    for tree, relative in ((results["change"], fall), (random["change"], 0.01)):
        tree["toxicity"]["rate"] = change(relative)
    random["difference"]["toxicity"]["rate"] = change(fall - 0.01)
    results["change"]["perplexity"]["general"] = change(COST[method] * amount, 0.002)
    random["change"]["perplexity"]["general"] = change(0.0005 * amount, 0.01)
    return results


def write_job(sweep: Path, overrides: list[str], results: Any) -> Path:
    """A job's folder with its results (None: none yet), settings, log and a stand-in report."""
    given = dict(override.split("=", 1) for override in overrides)
    folder = sweep / job_folder(",".join(sorted(overrides)))
    (folder / ".hydra").mkdir(parents=True)
    settings = {
        "seed": int(given["seed"]),
        "model": {"name": "tiny"},
        "dataset": {"name": "rude", "neutral_category": "neutral"},
        "attribution": {"name": given["attribution"]},
        "pruning": {"method": "neurons", "num_neurons": int(given["pruning.num_neurons"])},
        "evaluation": {"split": given["evaluation.split"], "budget": {"perplexity": 0.05}},
        "paths": {"cache": "somewhere"},
    }
    (folder / ".hydra" / "config.yaml").write_text(OmegaConf.to_yaml(settings))
    (folder / ".hydra" / "overrides.yaml").write_text(json.dumps(overrides))
    (folder / "sparc.log").write_text("log")
    if results is not None:
        write_json(folder / "results.json", results)
        if results["status"] == "ok":
            (folder / "report.html").write_text("<title>a run</title>")
    return folder


def overrides_of(method: str, split: str, amount: int, seed: int) -> list[str]:
    """The overrides of a job, as the command line gives them."""
    return [
        f"attribution={method}",
        f"evaluation.split={split}",
        f"pruning.num_neurons={amount}",
        f"seed={seed}",
    ]


def make_sweep(folder: Path, *, hostile: bool = True) -> Path:
    """A sweep of 24 finished jobs in `folder` / `sweep`; with `hostile` three that did not finish.

    Those are a failed one, one without results and one that never started, with attacks for names
    and reasons.
    """
    (folder / "run").mkdir()
    run = make_run(folder / "run")
    sweep = folder / "sweep"
    jobs = [overrides_of(*each) for each in product(METHODS, SPLITS, AMOUNTS, SEEDS)]
    for each in product(METHODS, SPLITS, AMOUNTS, SEEDS):
        write_job(sweep, overrides_of(*each), results_like(run, *each))
    if hostile:
        run["model"]["name"] = HOSTILE[0]
        failed = {"status": "failed", "reason": FORMULA + " ".join(HOSTILE), "run": {"seed": 0}}
        never = overrides_of(HOSTILE[3], "held_out", 8, 5)
        bad = [overrides_of(name, "held_out", 8, 5) for name in (HOSTILE[1], "javascript:alert(1)")]
        write_job(sweep, bad[0], failed)
        write_job(sweep, bad[1], None)
        jobs += [*bad, never]
    stated = {"model": "tiny", "dataset": "rude", "attribution": "x", "num_neurons": 8, "seed": 5}
    settings = run["run"]["config_hash"]
    entries = [{"overrides": job, "stated": stated, "config_hash": settings} for job in jobs]
    arguments = ["attribution=lrp,wanda", "seed=0,1"]
    write_json(sweep / "sweep.jobs.json", {"arguments": arguments, "jobs": entries})
    return sweep


def table_of(folder: Path) -> list[dict[str, str]]:
    """The rows of sweep.csv."""
    return list(csv.DictReader(io.StringIO((folder / "sweep.csv").read_text())))
