"""Every configuration of group `model` composes and runs the main job on a stand-in."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from scripts.tiny.shapes import CONTEXT, EOS, PAD
from scripts.tiny.training import build_tokenizer
from sparc.config.locations import config_folder
from tests.support.composed import composed, pipeline
from tests.support.micro import micro_config
from tests.support.stand_ins import stand_in

# option of `model` -> architecture of the models that it names
OPTIONS = {
    "llama3_8b": "llama",
    "llama3_1_8b": "llama",
    "llama2_7b": "llama",
    "tinyllama_1b": "llama",
    "opt_125m": "opt",
    "opt_6_7b": "opt",
    "gpt2_medium": "gpt2",
    "pythia_160m": "gpt_neox",
    "qwen3_0_6b": "qwen3",
    "qwen2_5_7b": "qwen2",
    "mistral_7b": "mistral",
    "gemma3_1b": "gemma3_text",
}
SMALL = (
    "evaluation.prompts=4",
    "evaluation.perplexity.documents=4",
    "evaluation.sampling.samples=1",
    "evaluation.sampling.max_new_tokens=8",
    "evaluation.resamples=100",
    "evaluation.scorers=[lexicon]",
    "dataset.general.samples=4",
    "dataset.undesired.samples=4",
    "pruning.num_neurons=5",
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each architecture: a planted model, or a random one that reads the corpus.

    The planted Llama is in every other test, and slow in bfloat16 on a CPU.
    """
    found = {family: stand_in(family) for family in ("opt", "gpt2")}
    tokenizer = build_tokenizer()
    for family in set(OPTIONS.values()) - set(found):
        config = micro_config(family)
        config.vocab_size, config.max_position_embeddings = len(tokenizer), CONTEXT
        config.pad_token_id, config.eos_token_id = PAD, EOS
        torch.manual_seed(0)
        found[family] = tmp_path_factory.mktemp(family)
        AutoModelForCausalLM.from_config(config).save_pretrained(found[family])
        tokenizer.save_pretrained(found[family])
    return found


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all options: those that differ in the hub id only share scores and baseline."""
    return tmp_path_factory.mktemp("cache")


def test_every_option_is_known_here() -> None:
    files = {path.stem for path in (config_folder() / "model").glob("*.yaml")}
    assert files == {*OPTIONS, "hf", "tiny"}


@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_names_a_hub_repository(option: str) -> None:
    config = composed(f"model={option}").model
    assert config.name == option
    organisation, slash, name = config.path.partition("/")
    assert organisation and slash and name and "/" not in name
    assert not config.trust_remote_code and config.attn_implementation == "sdpa"


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_runs_the_main_job(
    option: str, folders: dict[str, Path], cache: Path, tmp_path: Path
) -> None:
    asked = (f"model={option}", f"model.path={folders[OPTIONS[option]]}")
    results = pipeline(tmp_path, *SMALL, *asked, cache=cache)
    assert results["model"]["name"] == option
    assert results["selection"]["num_pruned"] == 5
    assert results["change"]["perplexity"]["general"]["relative"] is not None
    assert results["verdict"]
