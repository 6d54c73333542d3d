"""What a model's folder says: what cannot work is one line, before anything is loaded."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from sparc.config import ModelConfig
from sparc.errors import UserError
from sparc.models.folders import planted_neurons, read_config
from sparc.models.model import load_model
from sparc.preflight.weights import find_model
from tests.support.composed import composed
from tests.support.stand_ins import FAMILIES, stand_in


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(stand_in("llama"), tmp_path / "model"))


def _change(folder: Path, changes: dict[str, Any]) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def _refused(folder: Path, told: str) -> None:
    """By the configuration's checks (without torch), by stage=check and when it is loaded."""
    config = ModelConfig(name="m", path=str(folder))
    for refuse in (
        lambda: composed("model=hf", f"model.path={folder}"),
        lambda: find_model(config, local=True),
        lambda: load_model(config, "cpu"),
    ):
        with pytest.raises(UserError, match=told) as error:
            refuse()
        assert "\n" not in str(error.value)


# what the library itself writes for models that the method does not apply to
OTHERS = {
    "MixtralConfig": r"a mixture of experts \(num_local_experts\)",
    "Qwen2MoeConfig": r"a mixture of experts \(num_experts\)",
    "Qwen3MoeConfig": r"a mixture of experts \(num_",
    "OlmoeConfig": r"a mixture of experts \(num_experts\)",
    "DeepseekV3Config": r"a mixture of experts \(n",
    "GptOssConfig": r"a mixture of experts \(num_local_experts\)",
    "T5Config": "encoder-decoder",
    "BartConfig": "encoder-decoder",
    "Gemma3Config": r"more than text \(vision_config\)",
    "LlavaConfig": r"more than text \(vision_config\)",
    "Qwen2VLConfig": r"more than text \(vision_config\)",
    "MambaConfig": "architecture 'mamba' is not supported",
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_kinds_of_model(name: str, tmp_path: Path) -> None:
    getattr(transformers, name)().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=rf"^model\.path=it: .*{OTHERS[name]}"):
        read_config(tmp_path, "model.path=it")


UNSUITED = {
    r"weights are quantised \(gptq\)": {"quantization_config": {"quant_method": "gptq", "bits": 4}},
    r"weights are quantised \(fp8\)": {"quantization_config": {"quant_method": "fp8"}},
    r"quantised \(quantization_config\)": {"quantization_config": {"load_in_4bit": True}},
    r"quantised \(compression_config\)": {"compression_config": {"format": "pack"}},
    r"names code of its own \(auto_map\)": {"auto_map": {"AutoModelForCausalLM": "a/b--m.Model"}},
    "take _attn_implementation out": {"_attn_implementation": "some/kernel"},
    "take attn_implementation out": {"attn_implementation": {"": "some/kernel"}},
    "take transformers_weights out": {"transformers_weights": "other.safetensors"},
    "take configuration_files out": {"configuration_files": ["config.4.0.0.json"]},
    "model_type in its config.json is a list": {"model_type": ["llama"]},
    "model_type in its config.json is a number": {"model_type": 5},
    "num_hidden_layers .* from 1 to 1024": {"num_hidden_layers": 10**6},
    "hidden_size .* from 1 to": {"hidden_size": -96},
    "num_attention_heads .* from 1 to": {"num_attention_heads": 0},
    "vocab_size .* whole number": {"vocab_size": True},
    "num_labels .* from 1 to": {"num_labels": 10**9},
}


@pytest.mark.parametrize("told", UNSUITED)
def test_what_cannot_work_says_so(told: str, folder: Path) -> None:
    _change(folder, UNSUITED[told])
    _refused(folder, told)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[1]", "must hold an object, not a list"),
        ("7", "must hold an object, not a number"),
        ("[" * 10**5, "not readable JSON: RecursionError"),
        ('{"model_type":' * 10**5, "not readable JSON: RecursionError"),
        ('{"rms_norm_eps": NaN}', "not readable JSON: NaN is not finite"),
        ('{"rms_norm_eps": 1e999}', "not readable JSON: 1e999 is not finite"),
        (f'{{"vocab_size": {"9" * 5000}}}', "not readable JSON: Exceeds the limit"),
        (" " * (2**24 + 1), "not readable JSON: larger than"),
        ("\udcff", "not readable JSON: 'utf-8' codec"),
    ],
    ids=["list", "number", "brackets", "objects", "NaN", "infinity", "digits", "huge", "bytes"],
)
def test_a_config_that_is_none(content: str, told: str, folder: Path) -> None:
    (folder / "config.json").write_bytes(content.encode(errors="surrogateescape"))
    _refused(folder, told)


def _pipe(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return change


def _loop(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to("tokenizer.json")


def _adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "some/model"}')


def _adapter_alone(folder: Path) -> None:
    _adapter(folder)
    (folder / "config.json").unlink()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_pipe("config.json"), "config.json is no file"),
        (_pipe("model.safetensors"), "model.safetensors is no file"),
        (_loop, "tokenizer.json is no file"),
        (_adapter, "holds an adapter"),
        (_adapter_alone, "holds an adapter"),
        (lambda folder: (folder / "config.json").unlink(), "no config.json there"),
    ],
    ids=["pipe", "pipe of weights", "loop", "adapter", "adapter alone", "no config"],
)
def test_strange_files(change: Callable[[Path], None], told: str, folder: Path) -> None:
    change(folder)
    _refused(folder, told)


BROKEN_LISTS = (
    *("[]", "{}", "{", "[" * 10**5, '{"neurons": 5}', '{"neurons": [[0]]}'),
    *('{"neurons": [[0, 789]]}', '{"neurons": [[-1, 0]]}', '{"neurons": [[0, true]]}'),
    *('{"neurons": [[0.0, 1]]}', '{"neurons": [[0, 1], [0, 1]]}'),
)


@pytest.mark.parametrize("content", BROKEN_LISTS)
def test_planted_neurons_that_are_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "planted_neurons.json").write_text(content)
    with pytest.raises(UserError, match=r"planted_neurons\.json") as error:
        planted_neurons(tmp_path, 3, 789, "model.path=it")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_planted_neurons_of_the_stand_ins(family: str) -> None:
    model = load_model(ModelConfig(name="m", path=str(stand_in(family))), "cpu")
    listed = json.loads((stand_in(family) / "planted_neurons.json").read_text())["neurons"]
    assert model.planted == tuple(map(tuple, listed))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite(value: float, folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][5, 7] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"layers\.1\.mlp\.up_proj\.weight holds numbers that"):
        load_model(ModelConfig(name="m", path=str(folder)), "cpu")


def test_weights_too_large_for_half_precision(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] = 1e5  # a finite bfloat16, and none of float16
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    load_model(ModelConfig(name="m", path=str(folder)), "cpu")
    with pytest.raises(UserError, match=r"model\.dtype=float16: model\.norm\.weight holds"):
        load_model(ModelConfig(name="m", path=str(folder), dtype="float16"), "cpu")


def test_more_parameters_than_the_weights_can_hold_are_not_made_up(folder: Path) -> None:
    _change(folder, {"hidden_size": 2**19, "intermediate_size": 2**21})  # 40 TB
    with pytest.raises(UserError, match=r"describes .* parameters, and all weight files"):
        load_model(ModelConfig(name="m", path=str(folder)), "cpu")


OLD_KEYS: dict[str, Callable[[str], str]] = {
    "opt": lambda key: key.removeprefix("model."),  # as on the hub: decoder.layers...
    "gpt2": lambda key: key.removeprefix("transformer."),
    "llama": lambda key: key,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_key_layouts_of_the_hub_give_the_same_logits(family: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(stand_in(family), tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    older = {OLD_KEYS[family](key): value for key, value in weights.items()}
    older |= {
        "opt": {"decoder.version": torch.tensor([3.0])},
        "gpt2": {
            "h.0.attn.bias": torch.ones(1, 1, 256, 256),
            "h.0.attn.masked_bias": torch.ones(1),
        },
        "llama": {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(12)},
    }[family]
    save_file(older, folder / "model.safetensors", {"format": "pt"})
    tokens = torch.arange(4, 40)[None]
    with torch.no_grad():
        found, expected = (
            load_model(ModelConfig(name="m", path=str(each)), "cpu").network(tokens).logits
            for each in (folder, stand_in(family))
        )
    assert torch.equal(found, expected)
