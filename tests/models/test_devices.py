"""Two make-believe GPUs: every stage finds what it finds on the CPU, whatever lies where."""

from collections import Counter
from functools import cache
from itertools import product

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.support import fake_devices, placed_models
from tests.support.micro import FAMILIES, micro_config, relative_error
from tests.support.stages import Work, likelihood, model_of, said, scores, tokens, works

PLACES = {"one": placed_models.on_one, "two": placed_models.on_two}

# One family of each layout in both places and kinds of attention; the others are like them.
QUICK = {("llama", "sdpa", "two"), ("opt", "eager", "two"), ("gpt2", "sdpa", "one")}


COMBINATIONS = [
    pytest.param(*each, marks=[] if each in QUICK else [pytest.mark.slow])
    for each in product(FAMILIES, ("sdpa", "eager"), PLACES)
]


@cache  # both places are held against the same numbers
def _on_the_cpu(family: str, attention: str) -> dict[str, torch.Tensor]:
    model = model_of(family, attention)
    return {name: work(model).double() for name, work in works(family, attention).items()}


@pytest.mark.parametrize(("family", "attention", "place"), COMBINATIONS)
def test_every_stage_finds_what_it_finds_on_the_cpu(
    family: str, attention: str, place: str
) -> None:
    model, expected = model_of(family, attention), _on_the_cpu(family, attention)
    with fake_devices.machine():
        PLACES[place](model)
    wrong = {}
    for name, work in works(family, attention).items():
        try:
            with fake_devices.machine():
                found = work(model).double()
        except Exception as error:  # all that goes wrong, not the first alone
            wrong[name] = f"{type(error).__name__}: {str(error)[:200]}"
        else:
            if not relative_error(found, expected[name]) <= 1e-4:
                wrong[name] = "other numbers"
    assert wrong == {}


def test_devices_do_not_mix_there() -> None:
    """The make-believe GPUs refuse what real ones refuse; else nothing here could fail."""
    host = torch.ones(3)
    with fake_devices.machine():
        one, two = host.to(fake_devices.FIRST), host.to(fake_devices.SECOND)
        assert one.device.type == "cuda" and two.device.index == 1
        for wrong in (lambda: one + two, lambda: one * host, lambda: torch.allclose(one, two)):
            with pytest.raises(RuntimeError, match=r"different devices|beside one"):
                wrong()
        with pytest.raises(TypeError, match="numpy"):
            one.numpy()
        assert (one + two.to(one.device)).cpu().tolist() == [2, 2, 2]


# Waits for a device


def _waits(work: Work, family: str, layers: int) -> Counter[str]:
    name = "n_layer" if family == "gpt2" else "num_hidden_layers"
    shape = {**micro_config(family).to_dict(), name: layers}
    network = AutoModelForCausalLM.from_config(type(micro_config(family))(**shape)).eval()
    model = model_of(family, network=network.requires_grad_(False))
    with fake_devices.machine():
        placed_models.on_two(model)
        fake_devices.waits.clear()
        work(model)
    return fake_devices.waits.copy()


ITERATED: dict[str, Work] = {
    "attribution": scores("lrp"),
    "one by one": scores("gradient", reduction="abs_weight", projection="down"),
    "wanda": scores("wanda"),
    "token relevance": tokens(again=False),
    "layers computed again": tokens(again=True),
    "perplexity": likelihood("documents"),
    "completions": said(samples=2, max_new_tokens=3, temperature=0.8, top_p=0.9),
}


@pytest.mark.parametrize("work", ITERATED)
def test_no_layer_waits_for_a_device(work: str) -> None:
    assert _waits(ITERATED[work], "llama", 3) == _waits(ITERATED[work], "llama", 5)


def test_new_tokens_are_waited_for_by_transformers_alone() -> None:
    """A token twice: does padding hide anything, and have all rows ended. Sampling waits once."""
    few, many = (
        _waits(said(samples=2, max_new_tokens=new, temperature=0.8, top_p=0.9), "llama", 3)
        for new in (2, 4)
    )
    more = many - few
    assert list(more) == ["completing.py: output = model.generate("]
    assert more.total() <= 2 * 2
    assert sum(times for line, times in many.items() if line.startswith("sampling.py")) == 1
