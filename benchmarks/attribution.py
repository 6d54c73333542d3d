"""This engine against the earlier reproduction's algorithm: time, memory and the same neurons.

    python benchmarks/attribution.py                                   CPU, TinyLlama layer shapes
    python benchmarks/attribution.py --device cuda --shape llama3-8b   a GPU, 2048 tokens a sample
    python benchmarks/attribution.py --small                           seconds; says nothing

Both algorithms attribute the same samples with the same random model, alternating, each in a
process of its own. On the CPU seconds are CPU seconds of the process, all threads together.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import attribution_task
import measuring
import torch
from attribution_task import Task
from safetensors.torch import load_file
from shapes import SHAPES, Shape

ALGORITHMS = ("naive", "naive, last logits", "abs_weight", "signed")
"""`naive` computes logits at every position, as the reproduction did; the second does not."""


@dataclass(frozen=True)
class Workload:
    """What is attributed: `samples` of `tokens` each (`short`: prompts of 8 to 40 tokens)."""

    name: str
    samples: int
    tokens: int


def compare(
    options: argparse.Namespace, workload: Workload, folder: Path
) -> dict[str, dict[str, Any]]:
    """Algorithm -> medians over repeats, and seconds over the engine's of the same repeat."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in ALGORITHMS}
    for _ in range(options.repeats):
        for name in ALGORITHMS:
            out = scores_path(folder, workload, name)
            task = Task(
                name,
                workload.name,
                options.shape,
                options.device,
                workload.samples,
                workload.tokens,
                str(out),
            )
            print(f"{workload.name}: {name}", file=sys.stderr)
            if options.small:
                runs[name].append(attribution_task.work(task))
            else:
                runs[name].append(
                    measuring.in_process(
                        str(attribution_task.__file__), asdict(task), options.threads
                    )
                )
    found = {}
    for name, each in runs.items():
        found[name] = {key: statistics.median(run[key] for run in each) for key in each[0]}
        for side in ("abs_weight", "signed"):
            ratios = [a["seconds"] / b["seconds"] for a, b in zip(each, runs[side], strict=True)]
            found[name][f"over_{side}"] = statistics.median(ratios)
    return found


def scores_path(folder: Path, workload: Workload, algorithm: str) -> Path:
    """Where the scores of an algorithm lie."""
    return folder / f"{workload.name}-{algorithm.replace(', ', '-').replace(' ', '-')}.safetensors"


def agreement(folder: Path, workloads: Sequence[Workload], count: int) -> dict[str, Any]:
    """How far `abs_weight` and the naive algorithm choose the same neurons.

    For each workload and for the contrast long - short (general minus undesired): how many of the
    `count` lowest neurons are shared, and the largest deviation relative to the largest score.
    """

    def read(workload: Workload, name: str) -> torch.Tensor:
        return load_file(scores_path(folder, workload, name))["scores"]

    pairs = {w.name: tuple(read(w, name) for name in ("naive", "abs_weight")) for w in workloads}
    if len(workloads) == 2:
        long, short = pairs.values()
        pairs["contrast"] = (long[0] - short[0], long[1] - short[1])
    found = {}
    for name, (expected, engine_scores) in pairs.items():
        lowest = [set(s.flatten().argsort()[:count].tolist()) for s in (expected, engine_scores)]
        error = float((engine_scores - expected).abs().max() / expected.abs().max())
        found[name] = {"of": count, "shared": len(lowest[0] & lowest[1]), "largest_error": error}
    return found


COLUMNS = {
    "seconds": ("seconds", 1.0),
    "over abs_weight": ("over_abs_weight", 1.0),
    "over signed": ("over_signed", 1.0),
    "extra memory, MB": ("extra_bytes", 1e-6),
    "peak, MB": ("total_bytes", 1e-6),
    "on disk, MB": ("bytes_on_disk", 1e-6),
    "model TFLOP": ("flops", 1e-12),
    "share of matmul rate": ("share", 1.0),
}


def show(measured: Mapping[str, Mapping[str, Mapping[str, float]]], agreed: Any) -> None:
    """Print one table for each workload, and which neurons are the same."""
    for workload, algorithms in measured.items():
        rows = [
            [name, *(factor * values[key] for key, factor in COLUMNS.values())]
            for name, values in algorithms.items()
        ]
        print(f"\n{workload}\n\n{measuring.markdown(['algorithm', *COLUMNS], rows)}")
        rate = statistics.median(each["matmul_rate"] for each in algorithms.values())
        print(f"\nmatmul rate in the same processes: {rate / 1e12:.3g} TFLOP/s")
    print()
    for name, each in agreed.items():
        print(
            f"{name}: {each['shared']} of the {each['of']} lowest neurons shared by naive and "
            f"abs_weight; largest deviation {each['largest_error']:.1e} of the largest score"
        )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--shape", default="tinyllama-layers", choices=SHAPES)
    parser.add_argument("--samples", type=int, default=1, help="long samples")
    parser.add_argument("--tokens", type=int, help="of a long sample (the shape says how many)")
    parser.add_argument("--prompts", type=int, default=64, help="short prompts, 8 to 40 tokens")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="smallest shapes: only to try it")
    parser.add_argument("--out", type=Path, default=measuring.OUTPUTS)
    options = parser.parse_args(arguments)
    if options.small:
        options.shape, options.prompts, options.repeats = "small", 6, 1
    return options


def main(arguments: Sequence[str]) -> None:
    """Run the benchmark and print its tables."""
    options = parse(arguments)
    shape: Shape = SHAPES[options.shape]
    workloads = [
        Workload("long", options.samples, options.tokens or shape.tokens),
        Workload("short", options.prompts, 0),
    ]
    with tempfile.TemporaryDirectory() as folder:
        measured = {w.name: compare(options, w, Path(folder)) for w in workloads}
        agreed = agreement(Path(folder), workloads, min(100, shape.layers * shape.neurons // 4))
    show(measured, agreed)
    described = {k: v for k, v in vars(options).items() if k != "out"}
    record = {"options": described, "measured": measured, "agreement": agreed}
    measuring.write(
        f"attribution-{options.shape}-{options.device}", record, options.out, options.device
    )


if __name__ == "__main__":
    main(sys.argv[1:])
