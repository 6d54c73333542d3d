"""Contrast, selection and removal: hand-computed answers and boundaries."""

from typing import Any

import pytest
import torch

from sparc.components.contrast import contrast
from sparc.components.localisation import localisation
from sparc.components.neurons import chosen
from sparc.components.removal import removed
from sparc.components.scores import Scores
from sparc.components.selection import listed, lowest, matched
from sparc.components.sites import Site
from sparc.models.model import Model
from tests.support.micro import FAMILIES, LAYERS, NEURONS, SAMPLES, micro_model
from tests.support.scored import scored

TOKENS = torch.tensor([SAMPLES[0]])


def _scores(values: list[list[float]]) -> Scores:
    return scored(torch.tensor(values, dtype=torch.float64), 1, torch.zeros(1))


def _sites(layers: int, neurons: int) -> list[Site]:
    return [Site(layer, "neurons", (neurons,)) for layer in range(layers)]


def test_contrast_is_the_difference_of_means() -> None:
    general = [_scores([[1.0, 2.0]]), _scores([[3.0, 2.0]])]
    undesired = [_scores([[4.0, 1.0]]), _scores([[2.0, 0.0]])]
    assert contrast(general, undesired).stacked().tolist() == [[-1.0, 1.5]]


def test_lowest_over_all_layers() -> None:
    score = _scores([[3.0, -1.0, 0.0], [-2.0, 5.0, -1.0]])
    assert lowest(score, 0).indices == []
    # a tie goes to the lower layer
    assert lowest(score, 4).indices == [(1, 0), (0, 1), (1, 2), (0, 2)]
    assert lowest(score, 2, layers=[0]).indices == [(0, 1), (0, 2)]
    assert sorted(lowest(score, 6).indices) == [(a, b) for a in range(2) for b in range(3)]


def test_random_control_matches_layers() -> None:
    selection = listed("neurons", _sites(3, 10), [(0, 1), (0, 2), (2, 5)])
    drawn = matched(selection, (7, 0))
    assert drawn.per_layer(3) == selection.per_layer(3) == [2, 0, 1]
    assert len(set(drawn.indices)) == 3
    assert drawn.indices == matched(selection, (7, 0)).indices
    assert drawn.digest != matched(selection, (7, 1)).digest


def test_localisation_by_hand() -> None:
    score = _scores([[-3.0, -2.0], [-1.0, 4.0]])
    found = localisation(score, listed("neurons", _sites(2, 2), [(0, 0), (1, 0)]))
    assert found["recall"] == 0.5
    assert found["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["chance"] == 0.5
    first = listed("neurons", _sites(2, 2), [(0, 0), (0, 1)])
    assert localisation(score, first)["average_precision"] == 1.0


def _logits(model: Model) -> torch.Tensor:
    logits: torch.Tensor = model.network(TOKENS).logits
    return logits


def _weights(model: Model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.network.state_dict().items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_removed_is_the_same_model(name: str) -> None:
    model = micro_model(name)
    before = _logits(model)
    with removed(model, chosen(model, [])):
        assert torch.equal(_logits(model), before)


@pytest.mark.parametrize("name", FAMILIES)
def test_removal_is_undone_bit_for_bit(name: str) -> None:
    model = micro_model(name)
    before = _weights(model)
    neurons = [(0, 3), (1, 0), (1, 47), (2, 9), (2, 9)]
    with pytest.raises(RuntimeError, match="boom"), removed(model, chosen(model, neurons)):
        assert not all(torch.equal(v, before[k]) for k, v in _weights(model).items())
        raise RuntimeError("boom")
    assert all(torch.equal(v, before[k]) for k, v in _weights(model).items())


@pytest.mark.parametrize("name", FAMILIES)
def test_row_column_and_biases_of_a_removed_neuron_are_zero(name: str) -> None:
    """In the weights themselves, as a saved model has them, and nothing else is touched."""
    model = micro_model(name)
    expected, (up, gate, down) = _weights(model), _mlp_names(model, layer=1)
    for part, axis in ((up, 0), (gate, 0), (down, 1)):
        if part is not None:
            weight = expected[f"{part}.weight"]
            (weight.T if model.family.transposed else weight).select(axis, 7).zero_()
    for part in (up, gate):
        if f"{part}.bias" in expected:
            expected[f"{part}.bias"][7] = 0
    with removed(model, chosen(model, [(1, 7)])):
        found = _weights(model)
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


def _mlp_names(model: Model, layer: int) -> list[str | None]:
    """Names of the linear modules up, gate and down of a layer."""
    names = {id(module): name for name, module in model.network.named_modules()}
    block = model.blocks[layer]
    return [names.get(id(module)) for module in (block.up, block.gate, block.down)]


@pytest.mark.parametrize("name", FAMILIES)
def test_all_neurons_of_a_layer_leave_only_the_down_bias(name: str) -> None:
    model = micro_model(name)
    seen: list[torch.Tensor] = []
    down: Any = model.blocks[1].down
    handle = down.register_forward_hook(lambda _m, _i, output: seen.append(output))
    with removed(model, chosen(model, [(1, index) for index in range(NEURONS)])):
        _logits(model)
    handle.remove()
    expected = torch.zeros(32) if down.bias is None else down.bias
    assert torch.equal(seen[0], expected.expand_as(seen[0]))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_removed_neurons_contribution_is_gone(name: str) -> None:
    # Naive: silence the hidden neuron itself, by a hook at the down projection's input.
    model = micro_model(name)
    neurons = list(range(10, 20))

    def silence(_module: Any, inputs: Any) -> Any:
        hidden = inputs[0].clone()
        hidden[..., neurons] = 0
        return (hidden,)

    handle = model.blocks[1].down.register_forward_pre_hook(silence)
    expected = _logits(model)
    handle.remove()
    with removed(model, chosen(model, [(1, neuron) for neuron in neurons])):
        found = _logits(model)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert not torch.equal(found, _logits(model))
    assert len(model.blocks) == LAYERS
