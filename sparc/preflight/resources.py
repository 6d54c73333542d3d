"""Memory and time that a run takes, against the device it would run on."""

import re
from dataclasses import dataclass

import torch

from sparc.config import Config
from sparc.models.model import Model
from sparc.preflight.cost import (
    Amounts,
    Work,
    attribution_work,
    evaluation_work,
    search_work,
    weight_bytes,
)
from sparc.preflight.machine import free_memory, measure_speed
from sparc.preflight.rows import Row, duration, size

_SCORER_BYTES = 440e6  # a classifier of BERT's base size in float32, as Detoxify's are
_SPREADING = ("auto", "balanced", "balanced_low_0", "sequential")  # of accelerate
_UNITS = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@dataclass(frozen=True)
class Bill:
    """What a run of `model` takes.

    searched: most responses sampled to find references. weights, scorers, attribution_bytes,
    evaluation_bytes: memory; the last two are above the weights and not there at the same time.
    """

    model: Model
    weights: float
    scorers: float
    searched: int
    search: Work
    attribution: Work
    attribution_bytes: int
    evaluation: Work
    evaluation_bytes: int

    @staticmethod
    def of(model: Model, needed: Amounts, config: Config) -> "Bill":
        """Counted for a configuration; `model` may be a skeleton."""
        attribution, attribution_bytes = attribution_work(model, needed, config)
        evaluation, evaluation_bytes = evaluation_work(model, needed, config)
        searched, search = search_work(model, config)
        scorers = config.evaluation.scorers
        large = "classifier" in scorers or (
            "detoxify" in scorers and config.evaluation.detoxify.source != "embedded"
        )
        return Bill(
            model,
            weight_bytes(model),
            _SCORER_BYTES if large else 0,
            searched,
            search,
            attribution,
            attribution_bytes,
            evaluation,
            evaluation_bytes,
        )

    @property
    def peak(self) -> float:
        """Most bytes at any time."""
        return self.weights + self.scorers + max(self.attribution_bytes, self.evaluation_bytes)

    @property
    def works(self) -> tuple[Work, Work, Work]:
        """One after the other."""
        return self.search, self.attribution, self.evaluation

    def elsewhere(self, config: Config, granted: float | None) -> list[Row]:
        """The rows for GPUs that are not here: what they take, without a judgement.

        Judged is whether the weights pass through the CPU's memory. granted: GB that Slurm gives.
        """
        tera = sum(work.flops for work in self.works) / 1e12
        where = "not compared: jobs run on other machines"
        if granted and config.model.device_map is None and self.weights > granted * 1e9:
            advice = (
                f"loading takes {size(self.weights)} of the CPU's memory, and jobs have "
                f"hydra.launcher.mem_gb={granted:g}: raise it, or set model.device_map=auto"
            )
            memory = Row("memory", False, _taken(self), advice)
        else:
            memory = Row("memory", None, f"{_taken(self)}; {where}")
        return [
            memory,
            Row("time", None, f"{tera:.3g} TFLOP; {where}"),
        ]


def memory_row(
    bill: Bill, config: Config, device: torch.device, granted: float | None = None
) -> Row:
    """Whether weights and the largest batch fit into the memory of the device or devices.

    granted: GB of a node's memory that Slurm gives a job, in place of what is free here.
    """
    free, what = _available(config, device)
    if granted is not None and device.type == "cpu":
        free, what = granted * 1e9, "a node (hydra.launcher.mem_gb)"
    found = f"{_taken(bill)}; {size(free)} free on {what}"
    if bill.peak <= free:
        return Row("memory", True, found, _host_advice(bill, config, device))
    host, batches = _spill(config, device), bill.peak - bill.weights
    if bill.peak <= free + host and batches <= free:
        advice = f"up to {size(bill.peak - free)} of the weights go to the CPU's memory: slow"
        return Row("memory", None, f"{found}, {size(host)} in the CPU's memory", advice)
    return Row("memory", False, found, _advice(bill, config, free))


def time_row(bill: Bill, device: torch.device, minutes: float | None = None) -> Row:
    """How long attribution and evaluation take here.

    minutes: what Slurm gives a job; None or 0 for no limit.
    """
    network = bill.model.network.config
    speed = measure_speed(
        device, bill.model.network.dtype, network.hidden_size, bill.model.neurons_per_layer
    )
    search, attribution, evaluation = (work.seconds(bill.model, speed) for work in bill.works)
    sought = f"up to {duration(search)} to find references, " if bill.searched else ""
    found = (
        f"{sought}about {duration(attribution)} for attribution and {duration(evaluation)} for "
        f"evaluation on {device} ({speed.flops / 1e12:.2g} TFLOP/s)"
    )
    if not minutes or search + attribution + evaluation <= 60 * minutes:
        return Row("time", True, found)
    advice = (
        f"longer than hydra.launcher.timeout_min={minutes:g}: raise it, split attribution "
        "with attribution.shards, or lower evaluation.random_draws"
    )
    return Row("time", False, found, advice)


def _taken(bill: Bill) -> str:
    return (
        f"about {size(bill.peak)}: weights {size(bill.weights)}, attribution "
        f"{size(bill.attribution_bytes)}, evaluation {size(bill.evaluation_bytes)}"
    )


def _available(config: Config, device: torch.device) -> tuple[float, str]:
    """Free bytes and where: of one device, or with `device_map` of all GPUs."""
    most, mapped = config.model.max_memory, config.model.device_map
    if mapped is None or device.type != "cuda":
        return free_memory(device), str(device)
    count = torch.cuda.device_count()
    free = [float(free_memory(torch.device("cuda", number))) for number in range(count)]
    if most.gpu is not None:
        free = [min(each, _bytes(most.gpu)) for each in free]
    return sum(free), f"{count} GPUs" if count > 1 else "one GPU"


def _spill(config: Config, device: torch.device) -> float:
    """Bytes of the CPU's memory that `device_map` may fill with weights besides the GPUs."""
    most = config.model.max_memory.cpu
    if device.type != "cuda" or config.model.device_map not in _SPREADING:
        return 0
    free = float(free_memory(torch.device("cpu")))
    return free if most is None else min(free, _bytes(most))


def _bytes(written: str) -> float:
    match = re.fullmatch(r"(\d+)([KMG]i?B)", written)
    return int(match[1]) * _UNITS[match[2]] if match else float("inf")


def _host_advice(bill: Bill, config: Config, device: torch.device) -> str | None:
    """Weights go to a GPU through the CPU's memory unless accelerate places them."""
    host = free_memory(torch.device("cpu"))
    if device.type == "cpu" or config.model.device_map or bill.weights <= host:
        return None
    return f"loading takes {size(bill.weights)} of the CPU's memory: set model.device_map=auto"


def _advice(bill: Bill, config: Config, free: float) -> str:
    ways = []
    if bill.weights + bill.scorers > free:
        if config.model.dtype in ("float32", "float64"):
            ways.append("model.dtype=bfloat16")
        if config.model.device_map is None:
            ways.append("model.device_map=auto over several GPUs")
        return f"the weights alone do not fit: {' or '.join([*ways, 'a smaller model'])}"
    if bill.attribution_bytes >= bill.evaluation_bytes:
        if not config.attribution.gradient_checkpointing:
            ways.append("attribution.gradient_checkpointing=true")
        ways.append(f"attribution.batch_tokens={max(1, config.attribution.batch_tokens // 4)}")
        return f"the largest batch of attribution does not fit: {' or '.join(ways)}"
    smaller = max(1, config.evaluation.batch_tokens // 4)
    return f"the largest batch of evaluation does not fit: evaluation.batch_tokens={smaller}"
