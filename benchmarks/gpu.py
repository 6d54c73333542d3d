"""All that is to be measured on a GPU, in one command and less than ten minutes.

    python benchmarks/gpu.py            needs a CUDA device
    python benchmarks/gpu.py --small    on a CPU, smallest shape: only to try it

Llama-3-8B's and TinyLlama's shapes with random weights in bfloat16, so nothing is downloaded:
attribution against the earlier reproduction's algorithm on the same card, completions and
perplexity, peak memory, and the share of the rate of a product of two 8192 x 8192 matrices.
After `--seconds` it stops and shows and writes what it has.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import measuring
import torch
from attribution_task import Task, measure, model_of
from evaluation import BATCH_TOKENS, NEW_TOKENS
from shapes import long_samples, short_prompts

from sparc.config import SamplingConfig
from sparc.evaluation.perplexity import text_nll
from sparc.generation.completing import complete
from sparc.models.model import Model

Found = Mapping[str, Mapping[str, Any]]

GOALS = {
    "llama3-8b, long, signed": {"seconds": 0.23, "GB": 40, "share": 0.4},
    "llama3-8b, long, abs_weight": {"seconds": 0.28, "GB": 40, "share": 0.4},
    "llama3-8b, short, signed": {"seconds": 2},
    "tinyllama-1.1b, long, signed": {"seconds": 0.08, "GB": 8},
    "tinyllama-1.1b, long, abs_weight": {"seconds": 0.08, "GB": 8},
}
"""Limits by task: at most so many seconds and GB, at least such a share of the matmul rate.

Seconds are those of a long sample, or of all short prompts.
"""


def processes(small: bool, folder: str) -> list[list[Task]]:
    """The tasks of each process, which makes its model once, in the order of their importance."""
    device, large, little = "cuda", "llama3-8b", "tinyllama-1.1b"
    prompts, samples, tokens = 93, 4, 2048
    if small:
        device, large, little = "cpu", "small", "small"
        prompts, samples, tokens = 6, 2, 48

    def task(shape: str, workload: str, algorithm: str, count: int) -> Task:
        out = f"{folder}/scores.safetensors"
        return Task(algorithm, workload, shape, device, count, tokens, out)

    def of_engine(shape: str) -> list[Task]:
        sides = ("signed", "abs_weight")
        return [
            *(task(shape, "long", side, samples) for side in sides),
            *(task(shape, "short", side, prompts) for side in sides),
            task(shape, "evaluation", "perplexity", 8 * samples),
            task(shape, "evaluation", "completions", prompts),
        ]

    naive = [task(little, "short", "naive", prompts), task(little, "long", "naive", 1)]
    slowest = [task(large, "long", "naive", 1), task(large, "short", "naive", prompts // 3)]
    if small:
        return [of_engine(large), naive]
    return [of_engine(large), [*of_engine(little), *naive], slowest]


def name(task: Task) -> str:
    """What a task is called in tables and JSON."""
    return f"{task.shape}, {task.workload}, {task.algorithm}"


def evaluated(model: Model, task: Task) -> dict[str, Any]:
    """Completions or predicted tokens a second, the model being warm."""
    shape, device = task.sizes, torch.device(task.device)
    network, tokenizer = model.network, model.tokenizer
    prompts = [" ".join(map(str, ids)) for ids in short_prompts(shape, task.samples)]
    texts = [" ".join(map(str, ids)) for ids in long_samples(shape, task.samples, task.tokens)]
    sampling = SamplingConfig(4, NEW_TOKENS, temperature=0.7, top_p=0.9)

    def run(count: int) -> int:
        budget = BATCH_TOKENS[task.algorithm]
        if task.algorithm == "completions":
            said = complete(
                network, tokenizer, prompts[:count], sampling, seed=0, batch_tokens=budget
            )
            return sum(map(len, said))
        how = {"convention": "disjoint", "max_length": task.tokens, "stride": 0}
        found = text_nll(network, tokenizer, texts[:count], batch_tokens=budget, **how)
        return int(found.tokens.sum())

    run(1)
    peak, start = measuring.PeakMemory(device), measuring.now(device)
    count = run(task.samples)
    seconds = measuring.now(device) - start
    return {"a_second": count / seconds, "seconds": seconds, "total_bytes": peak.total()}


def work(tasks: Sequence[Task]) -> None:
    """Carry out tasks on one model; prints a line of JSON as each is done."""
    if tasks[0].device == "cpu":
        torch.set_num_threads(1)  # two that spin on a busy core are slower than one
    model = model_of(tasks[0])
    for task in tasks:
        carry_out = evaluated if task.workload == "evaluation" else measure
        repeats = 1 if task.algorithm == "naive" else 3
        try:
            runs = [carry_out(model, task) for _ in range(repeats)]
            result = sorted(runs, key=lambda run: run["seconds"])[repeats // 2]
        except RuntimeError as error:  # one that does not fit is no reason to leave out the others
            result = {"error": str(error).partition("\n")[0]}
        print(json.dumps(result), flush=True)


def measured(tasks: Sequence[Task], seconds: float) -> Iterator[tuple[Task, dict[str, Any]]]:
    """The results of one process, which has so many seconds, as they come in."""
    command = [sys.executable, __file__, "--worker", json.dumps([asdict(task) for task in tasks])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    end = threading.Timer(max(seconds, 0), process.kill)
    end.start()
    try:
        yield from zip(tasks, map(json.loads, process.stdout), strict=False)
    finally:
        end.cancel()
        process.kill()
        process.wait()


def rows(tasks: Sequence[Task], found: Found) -> Iterator[list[Any]]:
    """Each number with its goal, and whether that is met."""
    for task in tasks:
        result = found.get(name(task), {})
        for what, value in numbers(task, result, found).items():
            goal = GOALS.get(name(task), {}).get(what)
            sign = "≥" if what == "share" else "≤"
            met = None
            if goal is not None and value is not None:
                met = "yes" if value == goal or (value > goal) == (sign == "≥") else "no"
            shown = result.get("error", "not measured") if value is None else value
            yield [name(task), what, shown, goal and f"{sign} {goal:g}", met]


def numbers(task: Task, result: Mapping[str, Any], found: Found) -> dict[str, float | None]:
    """What a task's rows show; None for what was not measured.

    seconds: of a long sample, or of all short prompts. naive / this: seconds a sample.
    """
    peak = result.get("total_bytes")
    memory = {"GB": peak and peak / 1e9}
    if task.workload == "evaluation":
        unit = "tokens" if task.algorithm == "perplexity" else "completions"
        return {f"{unit} a second": result.get("a_second"), **memory}
    seconds, share = result.get("seconds"), result.get("share")
    each = seconds and seconds / task.samples
    naive = found.get(name(replace(task, algorithm="naive")), {})
    over = naive["seconds"] / naive["samples"] / each if each and "seconds" in naive else None
    shown = {"seconds": each if task.workload == "long" else seconds, "naive / this": over}
    return {**shown, "share": share, **memory}


def main(arguments: Sequence[str]) -> None:
    """Measure everything, print the table and write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=540, help="when to stop")
    parser.add_argument("--small", action="store_true", help="on a CPU, smallest shape")
    parser.add_argument("--out", type=Path, default=measuring.OUTPUTS)
    options = parser.parse_args(arguments)
    if not options.small and not torch.cuda.is_available():
        sys.exit("gpu.py: no CUDA device here; --small tries it on a CPU")
    end, found = time.monotonic() + options.seconds, dict[str, dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        groups = processes(options.small, folder)
        for tasks in groups:
            for task, result in measured(tasks, end - time.monotonic()):
                found[name(task)] = {"samples": task.samples, "tokens": task.tokens, **result}
                print(f"{name(task)}: done", file=sys.stderr)
    table = list(rows([task for tasks in groups for task in tasks], found))
    print(measuring.markdown(["what", "number", "measured", "goal", "met"], table))
    rates = [each["matmul_rate"] for each in found.values() if "matmul_rate" in each]
    if rates:
        print(f"\nmatmul rate: {statistics.median(rates) / 1e12:.3g} TFLOP/s")
    device = groups[0][0].device
    measuring.write(f"gpu-{device}", {"found": found}, options.out, device)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work([Task(**each) for each in json.loads(sys.argv[2])])
    else:
        main(sys.argv[1:])
