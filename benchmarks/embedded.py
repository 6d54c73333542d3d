"""The embedded example over training, reference and evaluation seeds.

    python benchmarks/embedded.py            held-out prompts: the table of the README
    python benchmarks/embedded.py --choose   validation prompts: how the amount was chosen

Models of other training seeds are built first where they are missing (about four CPU minutes
each). Every row is one run of the `sparc` command; outputs/benchmarks/ keeps them all.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = "embedded"
AMOUNTS = (8, 16, 32, 63)
COLUMNS = {
    "rude rate": ("baseline", "toxicity", "rate", "value"),
    "pruned": ("pruned", "toxicity", "rate", "value"),
    "change": ("change", "toxicity", "rate", "relative"),
    "95% low": ("change", "toxicity", "rate", "ci95", 0),
    "95% high": ("change", "toxicity", "rate", "ci95", 1),
    "random": ("control", "random", "change", "toxicity", "rate", "relative"),
    "oracle": ("control", "oracle", "change", "toxicity", "rate", "relative"),
    "general perplexity": ("change", "perplexity", "general", "relative"),
    "benign perplexity": ("change", "perplexity", "benign", "relative"),
    "loops, rude": ("change", "by_category", "rude", "repetition", "loop_rate", "absolute"),
    "loops, neutral": ("change", "by_category", "neutral", "repetition", "loop_rate", "absolute"),
    "recall": ("localisation", "recall"),
}


def model_path(seed: int | None, models: Path) -> str:
    """The model of a training seed, built where it is missing; None is the shipped one."""
    if seed is None:
        return SHIPPED
    folder = models / f"seed{seed}"
    if not (folder / "llama" / "planted_neurons.json").is_file():
        print(f"building the model of training seed {seed} in {folder}", file=sys.stderr)
        command = [sys.executable, "-m", "sparc.tiny", f"seed={seed}", f"out={folder}"]
        subprocess.run(command, check=True, cwd=ROOT)
    return str(folder / "llama")


def run(overrides: Sequence[str], outputs: Path) -> dict[str, Any]:
    """results.json of one run of the command."""
    folder = outputs / "-".join(o.split("=")[1].rpartition("/")[2].strip("[]") for o in overrides)
    if not (folder / "results.json").is_file():
        command = [sys.executable, "-m", "sparc", *overrides, f"hydra.run.dir='{folder}'"]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
    if results["status"] != "ok":
        sys.exit(f"{folder}: {results['status']}: {results['reason']}; remove it and run again")
    return results


def value(results: Any, path: Sequence[str | int]) -> float | None:
    """The number at `path` of results.json; None where the path ends early."""
    for part in path:
        if results is None:
            return None
        results = results[part]
    return None if results is None else float(results)


def report(
    seeds: Sequence[int], models: Path, outputs: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Held-out prompts: each training seed, then reference x evaluation seeds of the shipped."""
    for seed in seeds:
        results = run([f"model.path={model_path(seed, models)}", f"name=training{seed}"], outputs)
        yield f"training seed {seed}", results
    for reference in range(3):
        for seed in range(3):
            overrides = [f"dataset.reference_seeds=[{reference}]", f"seed={seed}", "name=shipped"]
            results = run(overrides, outputs)
            yield f"shipped, reference seed {reference}, evaluation seed {seed}", results


def choose(
    seeds: Sequence[int], models: Path, outputs: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Validation prompts: every amount for each training seed."""
    for seed in seeds:
        for amount in AMOUNTS:
            overrides = [
                f"model.path={model_path(seed, models)}",
                f"name=choose{seed}",
                f"pruning.num_neurons={amount}",
                "evaluation.split=validation",
                "evaluation.random_draws=0",
            ]
            yield f"training seed {seed}, {amount} neurons", run(overrides, outputs)


def show(rows: Sequence[tuple[str, dict[str, float | None]]]) -> None:
    """Print the rows as a Markdown table; changes in percent or points."""
    print("| run | " + " | ".join(COLUMNS) + " |\n" + "|-" * (1 + len(COLUMNS)) + "|")
    for name, numbers in rows:
        cells = []
        for column, number in numbers.items():
            plain = column in ("rude rate", "pruned", "recall")
            text = "-" if number is None else f"{number:.3f}" if plain else f"{100 * number:+.1f}%"
            cells.append(text)
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--choose", action="store_true", help="validation prompts, several amounts")
    parser.add_argument(
        "--outputs", type=Path, default=ROOT / "outputs" / "benchmarks" / "embedded"
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=range(5), help="training seeds")
    parser.add_argument("--models", type=Path, help="where built models are kept")
    arguments = parser.parse_args()
    models = (arguments.models or arguments.outputs / "models").resolve()
    outputs = arguments.outputs.resolve() / ("choose" if arguments.choose else "report")
    part = choose if arguments.choose else report
    rows, measured = [], {}
    for name, results in part(arguments.seeds, models, outputs):
        rows.append((name, {column: value(results, path) for column, path in COLUMNS.items()}))
        measured[name] = [results["run"]["started"], results["run"]["git_revision"]]
    show(rows)
    record = {
        "written": datetime.date.today().isoformat(),  # a row may be older: see `measured`
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "python": platform.python_version(),
        "rows": dict(rows),
        "measured": {name: measured[name] for name, _ in rows},
    }
    (outputs / "table.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
