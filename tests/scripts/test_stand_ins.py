"""The planted models of other families than the embedded one."""

import json
from dataclasses import replace

import pytest
import torch

from scripts.tiny.planting import PlantingOptions, plant
from scripts.tiny.shapes import WIDTHS, ModelSize
from scripts.tiny.training import build_tokenizer, train_stage_one
from sparc.components.neurons import chosen
from sparc.components.removal import removed
from sparc.models.families import family as row_of
from sparc.models.model import Model, blocks_of
from tests.support.stand_ins import FAMILIES, PLANTING, RECIPES, stand_in

SIZE = ModelSize(hidden=16, neurons=24, layers=2)


@pytest.mark.parametrize("family", FAMILIES)
def test_removing_what_was_planted_restores_stage_one(family: str) -> None:
    base = train_stage_one(replace(SIZE, family=family), 5, 64, lambda line: None)
    tokens = torch.randint(4, 500, (3, 20), generator=torch.Generator().manual_seed(0))
    before = base(tokens).logits.detach()
    planted = plant(base, 5, PlantingOptions(neurons_per_layer=3, documents=512))
    row = row_of(family)
    model = Model(
        name=family,
        source=family,
        fingerprint=family,
        network=planted.model.requires_grad_(False),
        tokenizer=None,
        family=row,
        blocks=blocks_of(planted.model, row),
        neurons_per_layer=27,
        planted=None,
    )
    assert (model.network(tokens).logits - before).abs().max() > 1e-3
    with removed(model, chosen(model, planted.neurons)):
        assert (model.network(tokens).logits - before).abs().max() <= 1e-5


@pytest.mark.parametrize("family", RECIPES)
def test_shipped_stand_ins_follow_their_recipe(family: str) -> None:
    folder, size = stand_in(family), RECIPES[family]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == family and config["dtype"] == "bfloat16"
    assert config[WIDTHS[family]] == size.neurons + PLANTING.neurons_per_layer
    neurons = json.loads((folder / "planted_neurons.json").read_text())["neurons"]
    assert len(neurons) == size.layers * PLANTING.neurons_per_layer
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    assert vocabulary == build_tokenizer().get_vocab()
