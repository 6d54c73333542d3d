"""Completions: the same text whatever the batch, and the right distribution."""

import math
import random
from collections import Counter
from itertools import chain

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from sparc.config import SamplingConfig
from sparc.errors import UserError
from sparc.generation.completing import complete
from sparc.generation.sampling import inverse_cdf, nucleus, sampling_device
from tests.support.tiny_models import WORDS, tiny_gpt2, tiny_llama, tiny_opt, tiny_tokenizer

WARM = SamplingConfig(samples=3, max_new_tokens=12, temperature=0.7, top_p=0.9)
GREEDY = SamplingConfig(samples=1, max_new_tokens=12, temperature=0)


def sample_prompts(seed=0, lengths=(1, 9, 4, 17, 2, 9, 30, 6)):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=length)) for length in lengths]


def run(model, prompts, sampling, *, seed=0, batch_tokens=100, tokenizer=None, **options):
    tokenizer = tokenizer or tiny_tokenizer()
    return complete(
        model, tokenizer, prompts, sampling, seed=seed, batch_tokens=batch_tokens, **options
    )


@pytest.mark.parametrize("make", [tiny_llama, tiny_opt, tiny_gpt2])
def test_batch_and_order_do_not_decide_the_text(make):
    model, prompts = make(), sample_prompts()
    alone = run(model, prompts, WARM, batch_tokens=1)
    assert len({text for texts in alone for text in texts}) > 12
    for batch_tokens in (4 * 42, 64 * 42):
        assert run(model, prompts, WARM, batch_tokens=batch_tokens) == alone
    order = random.Random(1).sample(range(len(prompts)), len(prompts))
    shuffled = run(model, [prompts[i] for i in order], WARM)
    assert shuffled == [alone[i] for i in order]
    assert run(model, prompts[2:4], WARM) == alone[2:4]


def test_streams_belong_to_seed_prompt_sample_and_step():
    model, prompts = tiny_llama(), sample_prompts()
    texts = run(model, prompts, WARM)
    assert run(model, prompts, WARM) == texts
    assert run(model, prompts, WARM, seed=1) != texts
    fewer = run(model, prompts, SamplingConfig(2, 6, 0.7, 0.9))
    for short, long in zip(fewer, texts, strict=True):
        for a, b in zip(short, long, strict=False):
            assert b.split()[: len(a.split())] == a.split()
    assert run(model, [prompts[1]] * 2, WARM) == [texts[1]] * 2


@pytest.mark.parametrize("make", [tiny_llama, tiny_opt, tiny_gpt2])
def test_greedy_is_that_of_transformers(make):
    model, tokenizer, prompts = make(), tiny_tokenizer(), sample_prompts()
    found = run(model, prompts, GREEDY, batch_tokens=10_000)
    for prompt, (text,) in zip(prompts, found, strict=True):
        inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
        output = model.generate(**inputs, do_sample=False, max_new_tokens=12)
        new = output[0, inputs["input_ids"].shape[1] :]
        assert text == tokenizer.decode(new, skip_special_tokens=True)


@torch.no_grad()
def warped(model, prompt, sampling):
    """Exact next-token distribution [vocabulary] of one prompt."""
    ids = tiny_tokenizer()(prompt, return_tensors="pt")["input_ids"]
    scores = model(input_ids=ids).logits[:, -1].float()
    scores = TemperatureLogitsWarper(sampling.temperature)(ids, scores)
    if sampling.top_k:
        scores = TopKLogitsWarper(sampling.top_k)(ids, scores)
    if sampling.top_p < 1:
        scores = TopPLogitsWarper(sampling.top_p)(ids, scores)
    return scores.double().softmax(-1)[0].numpy()


@pytest.mark.parametrize(
    ("temperature", "top_p", "top_k"),
    [(1.0, 1.0, 0), (0.7, 0.9, 0), (1.5, 1.0, 10), (0.7, 0.9, 50), (2.0, 0.5, 5)],
)
def test_distribution_is_the_warped_softmax(temperature, top_p, top_k):
    model, prompt = tiny_llama(), "w3 w1 w4"
    sampling = SamplingConfig(4000, 1, temperature, top_p, top_k)
    expected = warped(model, prompt, sampling)
    words = ["", "", "", "", *WORDS]  # special tokens leave no text
    if top_p < 1 or top_k:
        assert (expected == 0).any()
    found = Counter(run(model, [prompt], sampling, batch_tokens=10_000)[0])
    share = Counter()
    for word, probability in zip(words, expected, strict=True):
        share[word] += probability
    assert set(found) <= {word for word, probability in share.items() if probability > 0}
    common = [word for word, probability in share.items() if probability * 4000 >= 5]
    counts = [found[word] for word in common]
    wanted = [share[word] * 4000 for word in common]
    rest = 4000 - sum(wanted)
    if rest > 1e-6:
        counts.append(4000 - sum(counts))
        wanted.append(rest)
    assert len(counts) > 2
    assert stats.chisquare(counts, np.array(wanted)).pvalue > 1e-3


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.999, 1.0])
def test_nucleus_is_that_of_transformers(top_p):
    torch.manual_seed(0)
    scores = 4 * torch.randn(200, 300)
    scores[:, ::7] = -math.inf
    expected = TopPLogitsWarper(top_p)(None, scores)
    assert torch.equal(nucleus(scores, top_p), expected)
    tied = torch.tensor([[1.0, 3.0, 1.0, -9.0]])
    assert nucleus(tied, 0.9).isfinite().tolist() == [[True, True, True, False]]


def test_inverse_cdf_never_returns_an_excluded_token():
    scores = torch.tensor([[-math.inf, 0.0, -math.inf, 0.0, -math.inf]]).repeat(4, 1)
    edges = torch.tensor([[0.0], [0.4999], [0.5], [1 - 2**-53]], dtype=torch.float64)
    assert inverse_cdf(scores, edges)[:, 0].tolist() == [1, 1, 3, 3]


class WithoutFloat64(torch.Tensor):
    """Numbers as on MPS: they say so, and refuse float64."""

    @property
    def device(self):
        return torch.device("mps")

    def double(self):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    def to(self, device):
        return self.as_subclass(torch.Tensor).to(device)


def test_a_device_without_float64_samples_on_the_cpu(monkeypatch):
    scores, edges = 3 * torch.randn(5, 7), torch.rand(5, 1, dtype=torch.float64)
    expected = inverse_cdf(scores, edges)
    moved = []
    to = torch.Tensor.to
    here = {"mps": "cpu"}

    def noted(tensor, device):
        moved.append(str(device))
        return to(tensor, here.get(str(device), device))

    monkeypatch.setattr(torch.Tensor, "to", noted)
    assert torch.equal(inverse_cdf(scores.as_subclass(WithoutFloat64), edges), expected)
    assert moved == ["cpu", "mps"]  # the scores, and the tokens back
    for name, place in (("mps", "cpu"), ("cuda:1", "cuda:1"), ("cpu", "cpu")):
        assert sampling_device(torch.device(name)) == torch.device(place)


def test_defaults_stored_with_the_model_do_not_leak_in():
    model, prompts = tiny_llama(), sample_prompts()
    clean = run(model, prompts, WARM), run(model, prompts, GREEDY)
    stored = model.generation_config
    stored.update(do_sample=True, top_k=1, temperature=0.1, repetition_penalty=5.0, min_p=0.5)
    stored.update(no_repeat_ngram_size=1, max_length=5, num_beams=2, suppress_tokens=[4, 5, 6])
    assert (run(model, prompts, WARM), run(model, prompts, GREEDY)) == clean
    assert model.generation_config is stored and stored.top_k == 1


def test_stops_at_every_end_token_and_gives_only_the_completion():
    model, prompts = tiny_llama(), sample_prompts()
    texts = run(model, prompts, WARM)
    assert all("<" not in text for samples in texts for text in samples)
    assert {len(text.split()) for samples in texts for text in samples} <= set(range(13))
    word = max(chain(*texts), key=len).split()[3]
    model.generation_config.eos_token_id = [2, 4 + int(word[1:])]
    stopped = run(model, prompts, WARM)
    for before, after in zip(chain(*texts), chain(*stopped), strict=True):
        words = before.split()
        assert after.split() == (words[: words.index(word)] if word in words else words)


def test_tokenizer_without_pad_is_not_changed():
    tokenizer, prompts = tiny_tokenizer(pad=False), sample_prompts()
    texts = run(tiny_llama(), prompts, WARM, tokenizer=tokenizer)
    assert tokenizer.pad_token is None
    # <pad> is a word like others here, where the model says it
    said = [[text.replace("<pad>", "").split() for text in samples] for samples in texts]
    padded = run(tiny_llama(), prompts, WARM)
    assert said == [[text.split() for text in samples] for samples in padded]


def test_reports_progress_and_restores_training_mode():
    model, steps = tiny_llama().train(), []
    run(model, sample_prompts(), WARM, advance=steps.append)
    assert sum(steps) == 8 * 3 and len(steps) > 1 and model.training


def test_long_and_empty_prompts_are_named():
    with pytest.raises(UserError, match="prompt 2 has 61 tokens"):
        run(tiny_llama(), ["w1", " ".join(WORDS)], WARM)
    with pytest.raises(UserError, match="prompt 2 is empty"):
        run(tiny_llama(), ["w1", ""], WARM, tokenizer=tiny_tokenizer(bos=False))


def test_broken_logits_are_an_error():
    model = tiny_llama()
    torch.nn.init.constant_(model.lm_head.weight, math.nan)
    for sampling in (WARM, GREEDY):
        with pytest.raises(UserError, match="not finite"):
            run(model, ["w1"], sampling)
    assert model.generation_config.max_new_tokens is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": 0},
        {"max_new_tokens": 0},
        {"temperature": -1},
        {"temperature": 0, "samples": 2},
        {"top_p": 0},
        {"top_p": 1.1},
        {"top_k": -1},
    ],
)
def test_impossible_sampling(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        run(tiny_llama(), ["w1"], SamplingConfig(**({"samples": 1, "max_new_tokens": 1} | wrong)))
