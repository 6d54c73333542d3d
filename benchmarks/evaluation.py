"""Completions and perplexity against the loops that are usually written for them.

    python benchmarks/evaluation.py
    python benchmarks/evaluation.py --device cuda
    python benchmarks/evaluation.py --small      seconds; says nothing

Greedy and sampled completions against one `generate` call a prompt (a sample each); perplexity
against the stride loop of the transformers documentation, one window (or document) at a time,
with the number of predicted tokens counted exactly. Both sides alternate in one process, with
the embedded model.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measuring
import torch

from sparc.config import ModelConfig, SamplingConfig
from sparc.evaluation.perplexity import text_nll
from sparc.generation.completing import complete
from sparc.models.model import Model, load_model
from sparc.models.process import keep_freed_memory
from sparc.tiny import data as tiny

NEW_TOKENS = 25
WINDOWS = ((256, 128), (256, 64), (64, 16), (0, 0))
"""Window and stride in tokens (the embedded model takes 256); the last is one pass a document."""

BATCH_TOKENS = {"completions": 8192, "perplexity": 2048}  # the defaults of a run


@dataclass(frozen=True)
class Side:
    """One way to measure: its result, and how many completions or tokens that were."""

    name: str
    run: Callable[[], tuple[Any, int]]


@torch.no_grad()
def generate_loop(model: Model, prompts: Sequence[str], samples: int) -> list[list[str]]:
    """One `generate` call for each prompt and sample; greedy for one sample."""
    network, tokenizer = model.network, model.tokenizer
    how = {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "top_k": 0}
    texts = []
    for prompt in prompts:
        encoded = tokenizer(prompt, return_tensors="pt").to(network.device)
        inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")}
        said = []
        for _ in range(samples):
            output = network.generate(
                **inputs,
                max_new_tokens=NEW_TOKENS,
                pad_token_id=tokenizer.pad_token_id,
                **(how if samples > 1 else {"do_sample": False}),
            )
            new = output[0, inputs["input_ids"].shape[1] :]
            said.append(tokenizer.decode(new, skip_special_tokens=True))
        texts.append(said)
    return texts


@torch.no_grad()
def stride_loop(
    model: Model, documents: Sequence[str], window: int, stride: int
) -> tuple[float, int]:
    """Perplexity as the transformers documentation has it, and how many tokens were predicted."""
    encoded = model.tokenizer("\n\n".join(documents), return_tensors="pt", verbose=False)
    ids = encoded["input_ids"].to(model.device)
    total, count, scored = 0.0, 0, 0
    for begin in range(0, ids.shape[1], stride):
        end = min(begin + window, ids.shape[1])
        part = ids[:, begin:end]
        labels = part.clone()
        labels[:, : scored - begin] = -100
        loss = model.network(part, labels=labels).loss
        predicted = int((labels[:, 1:] != -100).sum())
        total, count, scored = total + float(loss) * predicted, count + predicted, end
        if end == ids.shape[1]:
            break
    return float(torch.tensor(total / count, dtype=torch.float64).exp()), count


def completion_sides(model: Model, prompts: Sequence[str], samples: int) -> tuple[Side, Side]:
    """`generate` loop and engine for `samples` completions of each prompt."""
    greedy = samples == 1
    sampling = SamplingConfig(samples, NEW_TOKENS, **({"temperature": 0} if greedy else _SAMPLED))
    count = len(prompts) * samples

    def engine() -> tuple[Any, int]:
        budget = BATCH_TOKENS["completions"]
        said = complete(
            model.network, model.tokenizer, prompts, sampling, seed=0, batch_tokens=budget
        )
        return said, count

    return (
        Side("generate loop", lambda: (generate_loop(model, prompts, samples), count)),
        Side("sparc", engine),
    )


_SAMPLED = {"temperature": 0.7, "top_p": 0.9}


@torch.no_grad()
def document_loop(model: Model, documents: Sequence[str]) -> tuple[float, int]:
    """Perplexity with one forward pass a document, each ended by the end token."""
    total, count = 0.0, 0
    end = torch.tensor([[model.tokenizer.eos_token_id]])
    for document in documents:
        encoded = model.tokenizer(document, return_tensors="pt")["input_ids"]
        ids = torch.cat([encoded, end], 1).to(model.device)
        predicted = ids.shape[1] - 1
        total += float(model.network(ids, labels=ids).loss) * predicted
        count += predicted
    return float(torch.tensor(total / count, dtype=torch.float64).exp()), count


def perplexity_sides(
    model: Model, documents: Sequence[str], window: int = 0, stride: int = 0
) -> tuple[Side, Side]:
    """Loop and engine on the same windows; without a window each document is one."""

    def loop() -> tuple[Any, int]:
        if window:
            return stride_loop(model, documents, window, stride)
        return document_loop(model, documents)

    def engine() -> tuple[Any, int]:
        found = text_nll(
            model.network,
            model.tokenizer,
            documents,
            convention="stride" if window else "documents",
            max_length=window or model.max_length,
            stride=stride,
            batch_tokens=BATCH_TOKENS["perplexity"],
            append_eos=not window,
        )
        return found.perplexity, int(found.tokens.sum())

    return Side("loop", loop), Side("sparc", engine)


def compare(sides: tuple[Side, Side], device: torch.device, repeats: int) -> dict[str, Any]:
    """Rates of both sides (median over repeats), their ratio within a repeat, and the results."""
    results: list[Any] = [side.run() for side in sides]  # also warms up
    rates: list[list[float]] = []
    for _ in range(repeats):
        rates.append([])
        for side in sides:
            start = measuring.now(device)
            _, count = side.run()
            rates[-1].append(count / (measuring.now(device) - start))
    return {
        "loop": statistics.median(rate for rate, _ in rates),
        "sparc": statistics.median(rate for _, rate in rates),
        "ratio": statistics.median(rate / loop for loop, rate in rates),
        "counts": [count for _, count in results],
        "results": [result for result, _ in results],
    }


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """All comparisons by name, with how far their results agree."""
    device = torch.device(options.device)
    model = load_model(ModelConfig(path=options.model), options.device)
    prompts = [p for c in ("rude", "neutral") for p in tiny.prompts("held_out", c, options.prompts)]
    documents = tiny.texts("general", "held_out", options.documents)
    found = {
        "greedy completions": compare(completion_sides(model, prompts, 1), device, options.repeats),
        "4 sampled completions": compare(
            completion_sides(model, prompts, 4), device, options.repeats
        ),
    }
    for window, stride in WINDOWS:
        sides = perplexity_sides(model, documents, window, stride)
        name = f"window {window}, stride {stride}" if window else "a document at a time"
        found[f"perplexity, {name}"] = compare(sides, device, options.repeats)
    for name, each in found.items():
        loop, engine = each.pop("results")
        if name.startswith("perplexity"):
            each |= {"perplexity": [loop, engine], "relative difference": abs(engine / loop - 1)}
        elif name.startswith("greedy"):
            each["equal"] = sum(a == b for a, b in zip(loop, engine, strict=True))
    return found


def show(found: dict[str, Any]) -> None:
    """Print the table."""
    rows = []
    for name, each in found.items():
        difference = each.get("relative difference")
        equal = f"{each['equal']} of {each['counts'][0]} equal" if "equal" in each else None
        result = f"relative difference {difference:.1e}" if difference is not None else equal
        rows.append([name, each["counts"][1], each["loop"], each["sparc"], each["ratio"], result])
    columns = ["what", "completions or tokens", "loop, a second", "sparc, a second", "ratio"]
    print(measuring.markdown([*columns, "results"], rows))


def main(arguments: Sequence[str]) -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--model", default="embedded", help="hub id or folder")
    parser.add_argument("--prompts", type=int, default=40, help="rude ones, and as many neutral")
    parser.add_argument("--documents", type=int, default=200, help="for perplexity")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="few prompts: only to try it")
    parser.add_argument("--out", type=Path, default=measuring.OUTPUTS)
    options = parser.parse_args(arguments)
    if options.small:
        options.prompts, options.documents, options.repeats = 4, 10, 1
    keep_freed_memory()  # as a run does
    torch.set_num_threads(options.threads)
    found = measured(options)
    show(found)
    measuring.write(f"evaluation-{options.device}", {"found": found}, options.out, options.device)


if __name__ == "__main__":
    main(sys.argv[1:])
