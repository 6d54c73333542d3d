"""Build the embedded model: both training stages, the classifier and the files they leave."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import torch
from transformers.utils import logging as transformers_logging

from scripts.tiny import cards
from scripts.tiny.classifier import save_classifier, train_classifier
from scripts.tiny.planting import PlantedModel, PlantingOptions, plant
from scripts.tiny.shapes import WIDTHS, ModelSize
from scripts.tiny.training import build_tokenizer, train_stage_one
from sparc.errors import UserError

Variant = Literal["default", "benchmark"]
VARIANTS: tuple[str, ...] = get_args(Variant)


@dataclass(frozen=True)
class Recipe:
    """All that decides the weights of a build."""

    seed: int
    variant: Variant = "default"
    size: ModelSize = field(default_factory=ModelSize)
    documents: int = 26_000
    planting_documents: int = 16_000
    planted_per_layer: int = 21
    classifier_steps: int = 900


def planting_options(recipe: Recipe) -> PlantingOptions:
    """The variant's way of planting.

    default: the rest of the model is frozen, so that removing the planted neurons restores it.
    benchmark: harder to see; weight norms tell nothing and all MLP neurons move a little.
    """
    options = PlantingOptions(
        neurons_per_layer=recipe.planted_per_layer, documents=recipe.planting_documents
    )
    if recipe.variant == "benchmark":
        return replace(options, down_scale=1.0, keep_norms=True, mixed=0.02)
    return options


def build(recipe: Recipe, out: Path, log: Callable[[str], None] = lambda line: None) -> Path:
    """Train both models and write `out`/llama and `out`/classifier; returns `out`.

    The same recipe gives the same bytes on the same machine. `out` appears only when whole.
    Raises UserError if `out` is there already.
    """
    part = out.with_name(f"{out.name}.part")
    for folder in (out, part):
        if folder.exists():
            raise UserError(f"{folder} exists: remove it or choose another folder with out=")
    try:
        (part / "llama").mkdir(parents=True)
    except OSError as error:
        raise UserError(
            f"cannot create {part} ({error}): choose another folder with out="
        ) from error
    with _deterministic(), _without_progress_bars():
        base = train_stage_one(recipe.size, recipe.seed, recipe.documents, log)
        planted = plant(base, recipe.seed, planting_options(recipe), log)
        save_planted(planted, recipe, part / "llama")
        save_classifier(train_classifier(recipe.classifier_steps, log), part / "classifier")
    for path in part.rglob("*.safetensors"):
        path.chmod(0o644)  # safetensors leaves its files readable for their owner only
    part.rename(out)
    return out


def save_planted(planted: PlantedModel, recipe: Recipe, folder: Path) -> None:
    """Write the model in bfloat16 with tokenizer, planted neurons and model card."""
    planted.model.bfloat16().save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    record = {
        "seed": recipe.seed,
        "variant": recipe.variant,
        "neurons": [list(neuron) for neuron in planted.neurons],
    }
    (folder / "planted_neurons.json").write_text(json.dumps(record) + "\n", encoding="utf-8")
    config = planted.model.config
    total = getattr(config, WIDTHS[config.model_type]) * config.num_hidden_layers
    card = cards.llama_card(recipe.seed, recipe.variant, len(planted.neurons), total)
    (folder / "README.md").write_text(card, encoding="utf-8")


@contextmanager
def _deterministic() -> Iterator[None]:
    """One thread (the order of sums decides the last bits) and the caller's random state kept."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
