"""What a model is known by: every file that changes what it computes, and nothing outside."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sparc.attribution import attribute
from sparc.attribution.samples import ReferenceSet
from sparc.components.from_file import refuse_other_model
from sparc.config import AttributionConfig, ModelConfig
from sparc.config.locations import EMBEDDED_MODEL
from sparc.errors import UserError
from sparc.models.fingerprint import folder_fingerprint, is_model, memory_fingerprint
from sparc.models.model import load_model, wrap
from sparc.runs.circuits import read_circuits
from sparc.storage.digests import digest, file_digest
from tests.support.tiny_models import tiny_llama, tiny_tokenizer


def known(folder: Path) -> str:
    return folder_fingerprint(folder, "model.path=it")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EMBEDDED_MODEL, tmp_path / "model"))


def split(folder: Path, *names: str) -> list[Path]:
    """Put the weights into files of these names, behind an index."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {name: names[i % len(names)] for i, name in enumerate(weights)}
    for file in names:
        (folder / file).parent.mkdir(exist_ok=True)
        part = {name: weights[name] for name in weights if places[name] == file}
        save_file(part, folder / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return [folder / name for name in names]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _restate(folder: Path, name: str, **values: Any) -> None:
    file = folder / name
    stated = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(stated | values))


CHANGES: dict[str, Callable[[Path], Any]] = {
    "decoder": lambda f: _restate(f, "tokenizer.json", decoder={"type": "WordPiece"}),
    "end token": lambda f: _restate(f, "generation_config.json", eos_token_id=5),
    "special token": lambda f: _restate(f, "tokenizer_config.json", eos_token="<pad>"),
    "special tokens map": lambda f: _restate(f, "special_tokens_map.json", eos_token="<pad>"),
    "added tokens": lambda f: _restate(f, "added_tokens.json", more=908),
    "merges": lambda f: (f / "merges.txt").write_text("a b\n"),
    "chat template": lambda f: (f / "chat_template.jinja").write_text("{{ 1 }}"),
    "configuration": lambda f: _restate(f, "config.json", rms_norm_eps=1e-5),
    "weights": lambda f: flip(f / "model.safetensors"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_all_that_changes_the_numbers_changes_the_fingerprint(name: str, folder: Path) -> None:
    before = known(folder)
    CHANGES[name](folder)
    assert known(folder) != before


def test_weights_behind_an_index_count_and_what_is_not_loaded_does_not(folder: Path) -> None:
    parts = split(folder, "one.safetensors", "parts/two.safetensors")
    config = ModelConfig(name="split", path=str(folder))
    before, same = known(folder), load_model(config, "cpu").fingerprint
    assert same == before and before.startswith("sha256:")
    for name in ("README.md", "pytorch_model.bin", "other.safetensors", "planted_neurons.json"):
        (folder / name).write_text("{}")
    assert known(folder) == before
    for part in parts:
        before = known(folder)
        flip(part)
        assert known(folder) != before


@pytest.mark.parametrize("name", ["../x.safetensors", "/x.safetensors", "a/../../x.safetensors"])
def test_an_index_that_points_outside_is_refused(name: str, folder: Path) -> None:
    (part,) = split(folder, "one.safetensors")
    shutil.copy(part, folder.parent / "x.safetensors")  # what the library would read
    index = {"weight_map": {"model.norm.weight": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="which lies outside the folder") as error:
        load_model(ModelConfig(name="it", path=str(folder)), "cpu")
    assert "\n" not in str(error.value) and str(error.value).startswith("model.path=")


@pytest.mark.parametrize("index", ["7", "{", "[]", '{"weight_map": []}', '{"weight_map": null}'])
def test_an_index_that_is_none_is_refused(index: str, folder: Path) -> None:
    split(folder, "one.safetensors")
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(UserError, match="is no index of weight files"):
        load_model(ModelConfig(name="it", path=str(folder)), "cpu")


def test_an_adapter_is_refused_and_links_are_followed(folder: Path) -> None:
    before = known(folder)
    blob = folder.parent / "blob"
    (folder / "model.safetensors").rename(blob)
    (folder / "model.safetensors").symlink_to(blob)  # as in the hub's own cache
    assert known(folder) == before
    flip(blob)
    assert known(folder) != before
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    with pytest.raises(UserError, match="holds an adapter"):
        load_model(ModelConfig(name="it", path=str(folder)), "cpu")


def test_runs_of_the_older_kind_are_held_against_that_kind(folder: Path, tmp_path: Path) -> None:
    files = ("config.json", "model.safetensors")
    older = "sha256:" + digest({name: file_digest(folder / name) for name in files})
    model = load_model(ModelConfig(name="it", path=str(folder)), "cpu")
    run = tmp_path / "run"
    run.mkdir()
    (run / "results.json").write_text(json.dumps({"status": "ok", "model": {"fingerprint": older}}))
    refuse_other_model(str(run), model)
    assert is_model(model.fingerprint, model.fingerprint, model.source)
    flip(folder / "model.safetensors")
    with pytest.raises(UserError, match="those of another model"):
        refuse_other_model(str(run), model)


def test_runs_of_two_kinds_are_not_called_different_models(tmp_path: Path) -> None:
    runs = [tmp_path / name for name in ("old", "new")]
    for run, fingerprint in zip(runs, ("sha256:" + "0" * 64, known(EMBEDDED_MODEL)), strict=True):
        run.mkdir()
        (run / "neurons.json").write_text("[]")
        results = {
            "status": "ok",
            "run": {"name": "it"},
            "model": {"fingerprint": fingerprint, "neurons": 4},
            "selection": {"method": "lrp", "num_pruned": 0, "per_layer": [0, 0]},
        }
        (run / "results.json").write_text(json.dumps(results))
    with pytest.raises(UserError, match=r"older version.*stage=evaluate run=\S+/old\)"):
        read_circuits(runs)


def test_two_models_in_memory_do_not_share_scores(tmp_path: Path) -> None:
    first, second = wrap(tiny_llama(0), tiny_tokenizer()), wrap(tiny_llama(1), tiny_tokenizer())
    same = wrap(tiny_llama(0), tiny_tokenizer())
    texts = ((1, 5, 9, 4), (1, 7, 30))
    config = AttributionConfig(_target_="sparc.attribution.lrp.lrp", name="lrp")
    found = [
        attribute(model, [ReferenceSet("general", 0, ("", ""), texts)], config, tmp_path)
        for model in (first, second, same)
    ]
    values = [scores["general", 0].stacked() for scores, _ in found]
    assert [cached for _, cached in found] == [False, False, True]
    assert not torch.equal(values[0], values[1]) and torch.equal(values[0], values[2])


def test_a_model_in_memory_is_known_by_weights_settings_and_tokenizer() -> None:
    network, tokenizer = tiny_llama(), tiny_tokenizer()
    before = memory_fingerprint(network, tokenizer)
    assert before == wrap(network, tokenizer).fingerprint == memory_fingerprint(network, tokenizer)
    assert memory_fingerprint(network, tiny_tokenizer(bos=False)) != before
    assert memory_fingerprint(tiny_llama(rms_norm_eps=1e-4), tokenizer) != before
    network.generation_config.eos_token_id = 9
    assert memory_fingerprint(network, tokenizer) != before
    network.generation_config.eos_token_id = 2
    assert memory_fingerprint(network, tokenizer) == before
    with torch.no_grad():
        network.model.norm.weight[0] = torch.nextafter(
            network.model.norm.weight[0], torch.tensor(9.0)
        )
    assert memory_fingerprint(network, tokenizer) != before
    assert memory_fingerprint(tiny_llama().bfloat16(), tokenizer).startswith("memory:")
    assert replace(wrap(network, tokenizer), name="other").source == "memory"
    with torch.device("meta"), pytest.raises(UserError, match="not in memory"):
        wrap(type(network)(network.config), tokenizer)
