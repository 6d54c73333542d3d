"""Two make-believe GPUs: every stage finds what it finds on the CPU, whatever lies where."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hydra.utils import get_method
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from sparc.attribution.accumulate import accumulate
from sparc.attribution.memory import gradient_checkpointing
from sparc.attribution.tokens import token_relevance
from sparc.config import AttributionConfig, TargetConfig
from sparc.evaluation.completions import complete_tokens
from sparc.evaluation.drawing import Sampling
from sparc.evaluation.harness import language_model
from sparc.evaluation.perplexity import text_nll
from sparc.models.families import FAMILIES as ROWS
from sparc.models.model import Model
from sparc.pruning.removal import removed
from tests import fake_devices, placed_models
from tests.micro import FAMILIES, SAMPLES, VOCABULARY, micro_config, micro_model, relative_error

PLACES = {"one": placed_models.on_one, "two": placed_models.on_two}
NEURONS = [(0, 3), (2, 5), (1, 7), (2, 6)]
TEXTS = ["w5 w6 w7 w8 w9 w10", "w11 w12", "w20 w21 w22 w23 w24 w25 w26 w27 w28"]
PROMPTS = ["w5 w6 w7", "w8 w9", "w10 w11 w12 w13"]
Work = Callable[[Model], torch.Tensor]


def words() -> PreTrainedTokenizerFast:
    """Four special tokens and w4 to w49, split at spaces."""
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    every = [*special.values(), *(f"w{i}" for i in range(len(special), VOCABULARY))]
    made = Tokenizer(WordLevel({word: i for i, word in enumerate(every)}, unk_token="<unk>"))
    made.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, **special)


def model_of(name: str, attention: str = "sdpa", network: Any = None) -> Model:
    model = micro_model(name, attention, network=network)
    object.__setattr__(model, "tokenizer", words())
    return model


def _scores(name: str, again: bool = False, **way: Any) -> Work:
    config = AttributionConfig(_target_=f"sparc.attribution.{name}.{name}", name=name, **way)

    def work(model: Model) -> torch.Tensor:
        with (
            gradient_checkpointing(model, again),
            get_method(config._target_)(model, config) as method,
        ):
            if method.statistic is None:
                return method.scores(torch.empty(0), 0)
            sums = accumulate(model, method.statistic, SAMPLES[:3], config)
            return method.scores(sums.totals, sums.counted)

    return work


def _tokens(again: bool) -> Work:
    def work(model: Model) -> torch.Tensor:
        config = AttributionConfig("", "lrp", gradient_checkpointing=again)
        found = token_relevance(model, SAMPLES[:3], NEURONS, 2, config)
        parts = [(each.inputs, each.removed, each.neurons, each.hidden) for each in found]
        return torch.cat([part.flatten() for each in parts for part in each])

    return work


def _likelihood(convention: str) -> Work:
    def work(model: Model) -> torch.Tensor:
        found = text_nll(
            model.network,
            model.tokenizer,
            TEXTS,
            convention=convention,
            max_length=6,
            stride=3,
            batch_tokens=12,
            bos_every_window=model.family.bos_every_window,
        )
        return torch.from_numpy(found.nll)

    return work


def _without_neurons(model: Model) -> torch.Tensor:
    with removed(model, NEURONS):
        return _likelihood("documents")(model)


def _said(seed: int = 0, **sampling: Any) -> Work:
    def work(model: Model) -> torch.Tensor:
        drawn = complete_tokens(
            model.network,
            model.tokenizer,
            PROMPTS,
            Sampling(**sampling),
            seed=seed,
            batch_tokens=50,
        )
        return torch.tensor([(ids + [0] * 4)[:4] for samples in drawn for ids in samples])

    return work


def _harness(model: Model) -> torch.Tensor:
    pairs = [(("", str(i)), sample[:1], sample[1:]) for i, sample in enumerate(SAMPLES[:3])]
    asked = language_model(model, 2)._loglikelihood_tokens(pairs, disable_tqdm=True)
    return torch.tensor([likelihood for likelihood, _ in asked])


def _works(family: str, attention: str) -> dict[str, Work]:
    gate = ["gate"] if ROWS[family].gate else []
    views = [
        {"projection": projection, "reduction": reduction}
        for projection in ("up", *gate, "down", "hidden")
        for reduction in ("signed", "abs_sample", "abs_weight")
        if (projection, reduction) != ("hidden", "abs_weight")
    ]
    two = TargetConfig("logprob", [3, 4])
    ways: list[dict[str, Any]] = [
        *({"name": "lrp", **view} for view in (views if attention == "sdpa" else views[:1])),
        {"name": "lrp", "rules": "cp", "target": two},
        {"name": "lrp", "again": True},
        {"name": "gradient"},
        {"name": "integrated_gradients", "steps": 2},
        {"name": "wanda"},
        {"name": "activation"},
        {"name": "magnitude"},
    ]
    return {
        **{f"scores {way}": _scores(**way) for way in ways},
        "token relevance": _tokens(again=False),
        "token relevance, layers computed again": _tokens(again=True),
        "documents": _likelihood("documents"),
        "disjoint": _likelihood("disjoint"),
        "documents without neurons": _without_neurons,
        "greedy": _said(samples=1, max_new_tokens=3, temperature=0),
        "sampled": _said(samples=2, max_new_tokens=3, temperature=0.8, top_p=0.9),
        "sampled from few": _said(samples=2, max_new_tokens=3, top_k=3, seed=1),
        "lm-eval": _harness,
    }


# One family of each layout in both places and kinds of attention; the others are like them.
QUICK = {("llama", "sdpa", "two"), ("opt", "eager", "two"), ("gpt2", "sdpa", "one")}


def _combinations() -> Iterator[Any]:
    for family in FAMILIES:
        for attention in ("sdpa", "eager"):
            for place in PLACES:
                quick = (family, attention, place) in QUICK
                marks = [] if quick else [pytest.mark.slow]
                yield pytest.param(family, attention, place, marks=marks)


@pytest.mark.parametrize(("family", "attention", "place"), _combinations())
def test_every_stage_finds_what_it_finds_on_the_cpu(
    family: str, attention: str, place: str
) -> None:
    cpu, model = model_of(family, attention), model_of(family, attention)
    with fake_devices.machine():
        PLACES[place](model)
    wrong = {}
    for name, work in _works(family, attention).items():
        expected = work(cpu).double()
        try:
            with fake_devices.machine():
                found = work(model).double()
        except Exception as error:  # all that goes wrong, not the first alone
            wrong[name] = f"{type(error).__name__}: {str(error)[:200]}"
        else:
            if not relative_error(found, expected) <= 1e-4:
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
    "attribution": _scores("lrp"),
    "one by one": _scores("gradient", reduction="abs_weight", projection="down"),
    "wanda": _scores("wanda"),
    "token relevance": _tokens(again=False),
    "layers computed again": _tokens(again=True),
    "perplexity": _likelihood("documents"),
    "completions": _said(samples=2, max_new_tokens=3, temperature=0.8, top_p=0.9),
}


@pytest.mark.parametrize("work", ITERATED)
def test_no_layer_waits_for_a_device(work: str) -> None:
    assert _waits(ITERATED[work], "llama", 3) == _waits(ITERATED[work], "llama", 5)


def test_new_tokens_are_waited_for_by_transformers_alone() -> None:
    """A token twice: does padding hide anything, and have all rows ended. Drawing waits once."""
    few, many = (
        _waits(_said(samples=2, max_new_tokens=new, temperature=0.8, top_p=0.9), "llama", 3)
        for new in (2, 4)
    )
    more = many - few
    assert list(more) == ["completions.py: output = model.generate("]
    assert more.total() <= 2 * 2
    assert sum(times for line, times in many.items() if line.startswith("drawing.py")) == 1
