"""Damaged and hostile model folders: the right logits or one line, and nothing from elsewhere."""

import copy
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from sparc.config import ModelConfig
from sparc.errors import UserError
from sparc.models.model import load_model
from tests.fuzz.budget import budget, case
from tests.support.stand_ins import FAMILIES, stand_in

TOKENS = torch.arange(4, 40)[None]
TEXT = "Tom was angry ."
JUNK = st.sampled_from(
    (
        *(
            None,
            True,
            -1,
            0,
            1,
            3,
            7,
            2**31,
            10**30,
            0.5,
            -1e300,
            "",
            "x",
            "a/b",
            "../x",
            "é\x1b[2J",
        ),
        *([], {}, [[]], {"": "a/b"}, ["a/b--m.M"], {"type": "BPE"}, "llama", "sdpa", "<unk>"),
    )
)
HOSTILE = st.fixed_dictionaries(
    {},
    optional={
        "auto_map": st.just({"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"}),
        "_attn_implementation": st.just("some/kernel"),
        "quantization_config": st.just({"quant_method": "gptq", "bits": 4}),
        "transformers_weights": st.just("../other.safetensors"),
        "num_hidden_layers": st.sampled_from([10**6, 4, 2]),
        "vocab_size": st.sampled_from([2**30, 5, 910]),
        "tokenizer_class": st.sampled_from(["LlamaTokenizer", "GPT2Tokenizer", "T5Tokenizer"]),
        "gguf_file": st.just("x.gguf"),
        "name_or_path": st.just("some/model"),
    },
)
RAW = st.sampled_from([b"", b"{", b"[" * 10**5, b"null", b"[]", b"\xff\xfe", b'{"a":' * 10**4])
TEXTS = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json")


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a JSON value something can be put; of a long list or object the first few."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, each in list(inner)[:40]:
        found.append((*path, key))
        if isinstance(each, dict | list) and each:
            found += _paths(each, (*path, key))
    return found


def _put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return value


Change = Callable[[Path], object]


@st.composite
def _text_change(draw: Any, family: str) -> Change:
    """One of the JSON files: a value elsewhere in it, hostile keys, or bytes that are no JSON."""
    name = draw(st.sampled_from((*TEXTS, "planted_neurons.json")))
    content = json.loads((stand_in(family) / name).read_text())
    kind = draw(st.sampled_from(["value", "value", "value", "keys", "raw", "gone"]))
    if kind == "raw":
        raw = draw(RAW)
        return lambda folder: (folder / name).write_bytes(raw)
    if kind == "gone":
        return lambda folder: (folder / name).unlink()
    if kind == "keys":
        content |= draw(HOSTILE)
    else:
        content = _put(content, draw(st.sampled_from(_paths(content))), draw(JUNK))
    return lambda folder: (folder / name).write_text(json.dumps(content))


@st.composite
def _weight_change(draw: Any, family: str) -> Change:
    """The weights: cut, renamed, reshaped, left out, not finite, behind an index, or no file."""
    whole = (stand_in(family) / "model.safetensors").read_bytes()
    kind = draw(st.sampled_from(["cut", "flip", "tensor", "index", "pipe", "link", "folder"]))
    at = draw(st.integers(0, 4000))
    which, shape = draw(st.integers(0, 99)), draw(st.sampled_from([(0,), (3, 5), (1,), ()]))
    how = draw(st.sampled_from(["rename", "reshape", "drop", "nan", "integers"]))
    index = draw(
        st.sampled_from(
            (
                *(5, {}, {"weight_map": 5}, {"weight_map": {"x": "model-1.safetensors"}}),
                *({"weight_map": {"x": 5}}, {"weight_map": {"x": "nothing"}, "metadata": []}),
            )
        )
    )

    def change(folder: Path) -> None:
        file = folder / "model.safetensors"
        if kind == "cut":
            file.write_bytes(whole[: at * len(whole) // 4000])
        elif kind == "flip":  # in the header, where it is seen
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        elif kind == "tensor":
            weights = load_file(file)
            name = sorted(weights)[which % len(weights)]
            value = weights.pop(name)
            if how == "rename":
                weights[name + "x"] = value
            elif how == "reshape":
                weights[name] = torch.zeros(shape)
            elif how == "nan":
                weights[name] = torch.full_like(value, float("nan"))
            elif how == "integers":
                weights[name] = torch.full(value.shape, 2, dtype=torch.int8)
            save_file(weights, file, {"format": "pt"})
        elif kind == "index":
            file.rename(folder / "model-1.safetensors")
            (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        else:
            file.unlink()
            if kind == "pipe":
                os.mkfifo(file)
            elif kind == "link":
                file.symlink_to("model.safetensors")
            else:
                file.mkdir()

    return change


@pytest.fixture(scope="module")
def expected() -> dict[str, tuple[torch.Tensor, list[int]]]:
    return {family: _served(stand_in(family)) for family in FAMILIES}


def _served(folder: Path) -> tuple[torch.Tensor, list[int]]:
    model = load_model(ModelConfig(name="m", path=str(folder)), "cpu")
    with torch.no_grad():
        return model.network(TOKENS).logits, model.tokenizer(TEXT)["input_ids"]


@pytest.fixture
def nothing_elsewhere(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was asked of a network."""
    asked: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> None:
        asked.append(arguments)
        raise OSError("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return asked


@budget(small=16, large=400)
@given(data=st.data())
def test_model_folders(
    data: st.DataObject, expected: dict[str, Any], nothing_elsewhere: list[Any]
) -> None:
    family = data.draw(st.sampled_from(FAMILIES))
    weights = data.draw(st.booleans()) and data.draw(st.booleans())
    change = data.draw(_weight_change(family) if weights else _text_change(family))
    with tempfile.TemporaryDirectory() as home, case("model folders"):
        folder = Path(shutil.copytree(stand_in(family), Path(home) / "model"))
        evil = f"open({str(Path(home) / 'ran')!r}, 'w')"
        (folder / "evil.py").write_text(evil)
        before = os.getcwd()
        os.chdir(home)
        try:
            change(folder)
            logits, ids = _served(folder)
        except UserError as error:
            assert "\n" not in str(error) and str(error).startswith(
                ("model.path=", "architecture '")
            )
        else:
            _right(folder, logits, ids, *expected[family])
        finally:
            os.chdir(before)
        assert not (Path(home) / "ran").exists()
    assert not nothing_elsewhere


def _kept(folder: Path, name: str) -> bool:
    """Whether a file is as it was in the stand-in."""
    family = json.loads((folder / "config.json").read_text())["model_type"]
    file = folder / name
    return file.is_file() and file.read_bytes() == (stand_in(family) / name).read_bytes()


def _right(
    folder: Path, logits: torch.Tensor, ids: list[int], usual: torch.Tensor, tokens: list[int]
) -> None:
    """What is served is what the files say: the usual logits and tokens, or others as they ask."""
    assert torch.isfinite(logits).all()
    same = _kept(folder, "config.json") and _kept(folder, "model.safetensors")
    if same:
        assert torch.equal(logits, usual)
    elif _kept(folder, "config.json"):  # other weights: theirs
        plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        with torch.no_grad():
            torch.testing.assert_close(plain(TOKENS).logits, logits, rtol=1e-4, atol=1e-5)
    if _kept(folder, "tokenizer.json"):
        assert ids[-len(tokens) + 1 :] == tokens[1:]  # a begin-of-sequence token may go or come
