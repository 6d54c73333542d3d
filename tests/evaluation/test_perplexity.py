"""Perplexity against a computation that shares nothing with it: one token at a time."""

import math
import random

import numpy as np
import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, GraniteConfig, GraniteForCausalLM

from sparc.errors import UserError
from sparc.evaluation.perplexity import (
    TextNLL,
    assert_sane_baseline,
    text_nll,
    unigram_perplexity,
)
from sparc.evaluation.windows import text_windows
from tests.support.tiny_models import WORDS, tiny_gpt2, tiny_llama, tiny_opt, tiny_tokenizer

MAX_LENGTH, STRIDE = 16, 5
BOS, EOS = 1, 2


def sample_texts(seed=0, lengths=(3, 40, 1, 16, 15, 17, 27)):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=length)) for length in lengths]


def measure(model, texts, convention, tokenizer=None, batch_tokens=100, **settings):
    settings = {"max_length": MAX_LENGTH, "stride": STRIDE} | settings
    return text_nll(
        model,
        tokenizer or tiny_tokenizer(),
        texts,
        convention=convention,
        batch_tokens=batch_tokens,
        **settings,
    )


@torch.no_grad()
def one_by_one(model, pairs):
    """Sum of -log p(token | context) over (context, token) pairs, one forward pass each."""
    total = 0.0
    for context, token in pairs:
        logits = model(input_ids=torch.tensor([context])).logits[0, -1].double()
        total -= torch.log_softmax(logits, -1)[token].item()
    return total


def word_ids(text):
    return [4 + int(word[1:]) for word in text.split()]


def pairs_of(convention, texts, *, bos, append_eos=False):
    """What each token is predicted from, written down position by position."""
    if convention == "documents":
        streams = [word_ids(text) + ([EOS] if append_eos else []) for text in texts]
    else:
        streams = [word_ids(" ".join(texts))]
    pairs = []
    for words in streams:
        ids = words if bos == "every" else [BOS, *words]
        size = MAX_LENGTH - 1 if bos == "every" else MAX_LENGTH
        lead = [BOS] if bos == "every" else []
        if convention == "disjoint" and len(ids) > size:
            ids = ids[: len(ids) // size * size]
        for position, token in enumerate(ids):
            if convention == "stride":
                # the first window that reaches the token
                start = max(0, math.ceil((position - size + 1) / STRIDE)) * STRIDE
            else:
                start = position // size * size
            context = lead + ids[start:position]
            if context:
                pairs.append((context, token))
    return pairs


@pytest.mark.parametrize("bos", ["first", "every"])
@pytest.mark.parametrize("convention", ["documents", "disjoint", "stride"])
@pytest.mark.parametrize("make", [tiny_llama, tiny_opt, tiny_gpt2])
def test_equals_one_token_at_a_time(make, convention, bos):
    model, texts = make(), sample_texts()
    append_eos = convention == "documents"
    found = measure(
        model, texts, convention, append_eos=append_eos, bos_every_window=bos == "every"
    )
    pairs = pairs_of(convention, texts, bos=bos, append_eos=append_eos)
    assert found.tokens.sum() == len(pairs)
    assert found.perplexity == pytest.approx(
        math.exp(one_by_one(model, pairs) / len(pairs)), rel=1e-5
    )


@pytest.mark.parametrize("convention", ["documents", "disjoint", "stride"])
@pytest.mark.parametrize("make", [tiny_llama, tiny_opt, tiny_gpt2])
def test_batch_size_changes_nothing(make, convention):
    model, texts = make(), sample_texts()
    alone, together = (measure(model, texts, convention, batch_tokens=n) for n in (1, 10_000))
    assert np.array_equal(alone.tokens, together.tokens)
    assert np.allclose(alone.nll, together.nll, rtol=1e-5)


def test_stride_predicts_all_tokens_but_the_first_once():
    texts = sample_texts()
    total = 1 + sum(len(text.split()) for text in texts)
    for stride in range(1, MAX_LENGTH):
        found = measure(tiny_llama(), texts, "stride", stride=stride)
        assert found.tokens.sum() == total - 1


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
def test_the_last_mlp_computes_what_is_scored(make):
    model, seen = make(), []
    layers = model.model.layers if make is tiny_llama else model.transformer.h
    hook = layers[-1].mlp.act_fn if make is tiny_llama else layers[-1].mlp.act
    hook.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].shape[1]))
    found = measure(model, sample_texts(), "stride", batch_tokens=1)
    # the check of the split sees whole and half; then the first window, whose first token is read
    assert seen[:3] == [8, 4, MAX_LENGTH]
    assert set(seen[3:-1]) == {STRIDE + 1}  # the last token that is only read predicts, too
    assert sum(seen[2:]) == found.tokens.sum() + len(found.tokens)


def test_disjoint_windows_are_those_of_the_tables():
    texts = sample_texts(lengths=(30, 20))
    windows = text_windows(
        tiny_tokenizer(), texts, convention="disjoint", max_length=MAX_LENGTH, stride=0
    )
    assert [len(window.ids) for window in windows] == [16, 16, 16]  # 51 tokens, 3 dropped
    assert [window.ids[0] == BOS for window in windows] == [True, False, False]
    every = text_windows(
        tiny_tokenizer(),
        texts,
        convention="disjoint",
        max_length=MAX_LENGTH,
        stride=0,
        bos_every_window=True,
    )
    assert [window.ids[0] for window in every] == [BOS] * 3
    assert [token for window in every for token in window.predicted] == word_ids(" ".join(texts))[
        :45
    ]


def test_final_logit_softcapping_and_scaled_logits_are_respected():
    sizes = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2)
    sizes |= dict(num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64)
    torch.manual_seed(0)
    models = [
        Gemma2ForCausalLM(Gemma2Config(**sizes, head_dim=8, final_logit_softcapping=0.5)),
        GraniteForCausalLM(GraniteConfig(**sizes, logits_scaling=3.0)),
    ]
    for model in models:
        with torch.no_grad():
            model.get_output_embeddings().weight.mul_(100)
        texts = sample_texts(lengths=(12,))
        pairs = pairs_of("documents", texts, bos="first")
        calls = []
        hook = model.register_forward_hook(lambda *_: calls.append(1))  # noqa: B023
        found = measure(model.eval(), texts, "documents")
        hook.remove()
        # the whole model runs once for comparison, and again where it scales logits its own way
        assert len(calls) == (1 if isinstance(model, Gemma2ForCausalLM) else 2)
        assert found.nll.sum() == pytest.approx(one_by_one(model, pairs), rel=1e-5)


def test_many_small_parts_of_logits_give_the_same(monkeypatch):
    model, texts = tiny_llama(), sample_texts()
    whole = measure(model, texts, "documents")
    monkeypatch.setattr("sparc.evaluation.perplexity._LOGITS_AT_ONCE", 3 * 64)
    assert np.allclose(measure(model, texts, "documents").nll, whole.nll, rtol=1e-6)


def test_tokenizer_without_special_tokens():
    tokenizer = tiny_tokenizer(bos=False, pad=False)
    found = measure(tiny_gpt2(), ["w1 w2 w3", "w4"], "documents", tokenizer=tokenizer)
    assert found.tokens.tolist() == [2]  # the text of one token predicts nothing
    with pytest.raises(UserError, match="no bos token"):
        measure(tiny_gpt2(), ["w1"], "documents", tokenizer=tokenizer, bos_every_window=True)


def test_leaves_training_mode_and_reports_progress():
    model, steps = tiny_llama().train(), []
    found = measure(model, sample_texts(), "documents", advance=steps.append)
    assert model.training
    assert sum(steps) == len(found.nll) and len(steps) > 1


@pytest.mark.parametrize(
    ("convention", "settings", "message"),
    [
        ("nonsense", {}, "unknown perplexity convention"),
        ("documents", {"max_length": 1}, "at least 2"),
        ("documents", {"max_length": 65}, "context of 64"),
        ("stride", {"stride": 0}, "stride is 0"),
        ("stride", {"stride": MAX_LENGTH}, "stride is 16"),
    ],
)
def test_impossible_settings(convention, settings, message):
    with pytest.raises(UserError, match=message):
        measure(tiny_llama(), sample_texts(), convention, **settings)


def test_nothing_to_predict():
    with pytest.raises(UserError, match="no token to predict"):
        measure(tiny_llama(), [""], "documents")


def test_unigram_perplexity():
    assert unigram_perplexity(np.array([5, 0, 5, 5, 5])) == pytest.approx(4)
    assert unigram_perplexity(np.array([7, 0])) == pytest.approx(1)
    found = measure(tiny_llama(), ["w1 w1 w2 w2"], "documents")
    assert found.unigram_perplexity == pytest.approx(2)


def test_insane_baselines_are_refused():
    def text(perplexity, tokens=1000, unigram=50.0):
        nll = np.array([math.log(perplexity) * tokens])
        return TextNLL(nll, np.array([tokens]), "documents", unigram)

    assert_sane_baseline("general", text(49))
    assert_sane_baseline("general", text(51, tokens=400))  # too short to tell
    for bad in (text(51), text(math.nan), text(math.inf, tokens=10)):
        with pytest.raises(UserError, match="'general'"):
            assert_sane_baseline("general", bad)


def test_random_weights_are_refused():
    texts = sample_texts(lengths=(50,) * 20)
    with pytest.raises(UserError, match="word frequencies"):
        assert_sane_baseline("general", measure(tiny_llama(), texts, "documents"))


def test_broken_weights_are_refused():
    model = tiny_llama()
    torch.nn.init.constant_(model.model.layers[0].mlp.up_proj.weight, math.nan)
    with pytest.raises(UserError, match="nan"):
        assert_sane_baseline("general", measure(model, sample_texts(), "documents"))
