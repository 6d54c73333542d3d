"""Tiny models of other families with the embedded model's planted behaviour.

`python -m tests.support.stand_ins` trains those in tests/files anew (a few minutes on one
core), from the recipes below. They read the same corpus as the embedded Llama and show the
behaviour often enough to be corrected; their planted neurons are listed beside the weights.
"""

import json
import sys
from pathlib import Path

from scripts.tiny.planting import PlantedModel, PlantingOptions, plant
from scripts.tiny.shapes import ModelSize
from scripts.tiny.training import build_tokenizer, train_stage_one
from sparc.config.locations import EMBEDDED_MODEL

FILES = Path(__file__).parents[1] / "files"


DOCUMENTS = 18_000
PLANTING = PlantingOptions(neurons_per_layer=12, documents=10_000, hostile_share=0.3)
RECIPES = {
    family: ModelSize(hidden=64, neurons=256, layers=3, family=family) for family in ("opt", "gpt2")
}
FAMILIES = ("llama", *RECIPES)


def stand_in(family: str) -> Path:
    """The folder of the planted model of a family: llama (the embedded one), opt or gpt2."""
    return EMBEDDED_MODEL if family == "llama" else FILES / family


def train(size: ModelSize, documents: int = DOCUMENTS) -> PlantedModel:
    """Both stages, as the embedded model is made."""

    def log(line: str) -> None:
        print(f"{size.family}: {line}", flush=True)

    return plant(train_stage_one(size, 0, documents, log), 0, PLANTING, log)


def save(planted: PlantedModel, folder: Path) -> None:
    """Weights in bfloat16, tokenizer and the list of planted neurons."""
    planted.model.bfloat16().save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    record = {"neurons": [list(neuron) for neuron in planted.neurons]}
    (folder / "planted_neurons.json").write_text(json.dumps(record) + "\n", encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:] or RECIPES:
        save(train(RECIPES[name]), FILES / name)
