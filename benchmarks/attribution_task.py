"""One algorithm on one model and its samples: seconds, memory, operations and scores.

`python benchmarks/attribution_task.py --worker TASK` carries out a task (JSON) in a process of
its own and prints what it measured as JSON.
"""

import contextlib
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import measuring
import torch
from naive_attribution import patched_classes, up_rows, weight_relevance
from safetensors.torch import save_file
from shapes import SHAPES, Shape, long_samples, random_model, short_prompts

from sparc.attribution import attribute
from sparc.attribution.memory import estimate, shapes
from sparc.attribution.samples import ReferenceSet
from sparc.config import AttributionConfig
from sparc.models.model import Model
from sparc.models.process import keep_freed_memory

Samples = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Task:
    """One algorithm on one workload: `long` samples or `short` prompts."""

    algorithm: str
    workload: str
    shape: str
    device: str
    samples: int
    tokens: int
    out: str
    layers: int = 0

    @property
    def sizes(self) -> Shape:
        """The shape, with another number of layers where `layers` says so."""
        shape = SHAPES[self.shape]
        return replace(shape, layers=self.layers or shape.layers)


def samples_of(task: Task) -> list[list[int]]:
    """The token ids that the task attributes."""
    shape = task.sizes
    if task.workload == "short":
        return short_prompts(shape, task.samples)
    return long_samples(shape, task.samples, task.tokens)


def engine_config(reduction: str) -> AttributionConfig:
    """What `attribution=lrp` with that reduction is on the command line."""
    return AttributionConfig(_target_="sparc.attribution.lrp.lrp", name="lrp", reduction=reduction)


def naive(model: Model, samples: Samples, task: Task, folder: Path) -> tuple[torch.Tensor, int]:
    """Scores [layers, neurons] and bytes on disk: the reproduction kept a matrix for each layer."""
    whole = task.algorithm == "naive"
    totals = weight_relevance(model.network, samples, model.device, all_logits=whole)
    size = sum(total.numel() * total.element_size() for total in totals.values())
    return up_rows(totals, len(model.blocks), len(samples)), size


def engine(model: Model, samples: Samples, task: Task, folder: Path) -> tuple[torch.Tensor, int]:
    """Scores [layers, neurons] and bytes on disk: the whole path of a run, cache included."""
    reference = ReferenceSet("general", 0, ("",) * len(samples), tuple(map(tuple, samples)))
    scores, cached = attribute(model, [reference], engine_config(task.algorithm), folder)
    assert not cached
    size = sum(path.stat().st_size for path in folder.rglob("neurons-*.safetensors"))
    return scores["general", 0].stacked(), size


def model_flops(model: Model, samples: Samples, algorithm: str) -> float:
    """Floating-point operations that the algorithm needs, products of matrices only.

    For the engine what `sparc.attribution.memory.estimate` counts. The naive algorithm has
    gradients of all activations and weights, the output layer's at the positions it asks for.
    """
    lengths = [len(sample) for sample in samples]
    if not algorithm.startswith("naive"):
        return estimate(model, lengths, engine_config(algorithm)).flops
    sizes = shapes(model.network, model.family)
    width = sizes.layers * sizes.heads * sizes.head_size
    positions = sum(lengths) if algorithm == "naive" else len(lengths)
    multiplied = sizes.weights * sum(lengths) + sizes.vocabulary * sizes.hidden * positions
    # forward, gradients of activations and of weights; attention has no weights
    return float(6 * multiplied + 12 * width * sum(length**2 for length in lengths))


def model_of(task: Task) -> Model:
    """The random model of a task: bfloat16 on a GPU, float32 on a CPU."""
    keep_freed_memory()  # as a run does
    return random_model(task.sizes, torch.device(task.device), _dtype(task))


def _dtype(task: Task) -> torch.dtype:
    return torch.bfloat16 if task.device == "cuda" else torch.float32


def work(task: Task) -> dict[str, Any]:
    """Carry out a task in this process; its scores go to `task.out`."""
    return measure(model_of(task), task)


def measure(model: Model, task: Task) -> dict[str, Any]:
    """Carry out a task on its model."""
    device, dtype = torch.device(task.device), _dtype(task)
    size = 8192 if device.type == "cuda" else 1536 if task.sizes.hidden > 1000 else 256
    samples = samples_of(task)
    is_naive = task.algorithm.startswith("naive")
    algorithm = naive if is_naive else engine
    rules = patched_classes() if is_naive else contextlib.nullcontext()
    with rules, tempfile.TemporaryDirectory() as folder:
        algorithm(model, [samples[0][:4]], task, Path(folder) / "warm")
        rate = measuring.matmul_rate(device, dtype, size)
        measuring.synchronize(device)
        peak, start = measuring.PeakMemory(device), measuring.now(device)
        scores, on_disk = algorithm(model, samples, task, Path(folder) / "measured")
        seconds = measuring.now(device) - start
        memory = {"extra_bytes": peak.extra(), "total_bytes": peak.total()}
    # before and after: a neighbour on the machine may slow down one of the two
    rate = max(rate, measuring.matmul_rate(device, dtype, size))
    flops = model_flops(model, samples, task.algorithm)
    save_file({"scores": scores}, task.out)
    return {
        "seconds": seconds,
        **memory,
        "bytes_on_disk": on_disk,
        "flops": flops,
        "matmul_rate": rate,
        "share": flops / seconds / rate,
        **({} if is_naive else estimated(model, samples, task.algorithm, rate)),
    }


def estimated(model: Model, samples: Samples, reduction: str, rate: float) -> dict[str, float]:
    """What `sparc.attribution.memory` says beforehand about seconds and memory."""
    cost = estimate(model, [len(sample) for sample in samples], engine_config(reduction))
    return {"estimated_seconds": cost.seconds(rate), "estimated_bytes": cost.bytes}


if __name__ == "__main__":
    print(json.dumps(work(Task(**json.loads(sys.argv[-1])))))
