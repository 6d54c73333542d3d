"""What attribution costs against samples, tokens, layers and N, and what the estimate says.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --device cuda --shape llama3-8b
    python benchmarks/scaling.py --small      seconds; says nothing

One thing is varied at a time; each point is a process of its own. Estimates are those of
`sparc.attribution.memory`, with the matmul rate measured in the same process. On the CPU
memory is measured in a further process, in which the allocator gives back what is not in use.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import attribution_task
import measuring
import torch
from attribution_task import Task
from shapes import SHAPES

from sparc.components.scores import held
from sparc.components.selection import lowest
from sparc.components.sites import Site

NEURONS = (1, 100, 10_000, 100_000)
LLAMA3_8B = (32, 14336)


@dataclass(frozen=True)
class Point:
    """One thing that is varied, and the task that measures it."""

    varied: str
    value: int
    task: Task


def points(base: Task, small: bool) -> Iterator[Point]:
    """Samples, tokens and layers around `base`, then the other reduction and short prompts."""
    layers = base.sizes.layers
    steps = (1, 2) if small else (1, 2, 4)
    yield from (Point("samples", n, replace(base, samples=n)) for n in steps)
    for factor in steps:
        tokens = base.tokens * factor // 2
        yield Point("tokens", tokens, replace(base, tokens=tokens))
    for factor in steps:
        count = max(1, layers * factor // 2)
        yield Point("layers", count, replace(base, layers=count))
    yield Point("abs_weight", 1, replace(base, algorithm="abs_weight"))
    short = replace(base, workload="short")
    for factor in steps:
        count = 4 * factor if small else 16 * factor
        yield Point("short prompts", count, replace(short, samples=count))


def measured(point: Point, options: argparse.Namespace) -> dict[str, Any]:
    """Medians over repeats of what the task measures; memory from a run of its own."""
    runs = []
    script, task = str(attribution_task.__file__), asdict(point.task)
    for _ in range(options.repeats):
        print(f"{point.varied} {point.value}", file=sys.stderr)
        if options.small:
            runs.append(attribution_task.work(point.task))
        else:
            runs.append(measuring.in_process(script, task, options.threads))
    found = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    if options.device == "cpu" and not options.small:
        exact = measuring.in_process(script, task, options.threads, measuring.EXACT_MEMORY)
        found["extra_bytes"] = exact["extra_bytes"]
    return found


def selection_seconds() -> dict[int, float]:
    """N -> seconds to find the N lowest of as many neurons as Llama-3-8B has."""
    values = torch.randn(LLAMA3_8B, generator=torch.Generator().manual_seed(0))
    score = held(
        "neurons", [Site(i, "neurons", values.shape[1:]) for i in range(len(values))], values
    )
    found = {}
    for count in NEURONS:
        start = time.process_time()
        lowest(score, count)
        found[count] = time.process_time() - start
    return found


def show(rows: Sequence[tuple[Point, dict[str, Any]]], selection: dict[int, float]) -> None:
    """Print the tables."""
    columns = ["varied", "value"]
    columns += ["seconds", "estimated", "ratio", "memory, MB", "estimated", "ratio"]
    lines = [
        [
            point.varied,
            point.value,
            each["seconds"],
            each["estimated_seconds"],
            each["estimated_seconds"] / each["seconds"],
            each["extra_bytes"] / 1e6,
            each["estimated_bytes"] / 1e6,
            each["estimated_bytes"] / max(1, each["extra_bytes"]),
        ]
        for point, each in rows
    ]
    print(measuring.markdown(columns, lines))
    print(f"\nselection among {LLAMA3_8B[0] * LLAMA3_8B[1]} neurons\n")
    print(measuring.markdown(["N", "CPU seconds"], [[n, s] for n, s in selection.items()]))


def main(arguments: Sequence[str]) -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--shape", default="scaling", choices=SHAPES)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="smallest shapes: only to try it")
    parser.add_argument("--out", type=Path, default=measuring.OUTPUTS)
    options = parser.parse_args(arguments)
    options.shape = "small" if options.small else options.shape
    with tempfile.TemporaryDirectory() as folder:
        out, tokens = str(Path(folder) / "scores.safetensors"), SHAPES[options.shape].tokens
        base = Task("signed", "long", options.shape, options.device, 1, tokens, out)
        rows = [(each, measured(each, options)) for each in points(base, options.small)]
    selection = selection_seconds()
    show(rows, selection)
    described = [{"varied": p.varied, "value": p.value, **each} for p, each in rows]
    record = {"shape": options.shape, "points": described, "selection_seconds": selection}
    name = f"scaling-{options.shape}-{options.device}"
    measuring.write(name, record, options.out, options.device)


if __name__ == "__main__":
    main(sys.argv[1:])
