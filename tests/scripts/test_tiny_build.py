"""The embedded model: its corpus, its recipe, its shipped files and the data it comes with."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BertTokenizer

from scripts.tiny.__main__ import main, parse
from scripts.tiny.build import Recipe, build, planting_options
from scripts.tiny.classifier import encode, vocabulary
from scripts.tiny.documents import every_word, foundation_document, planting_document
from scripts.tiny.planting import PlantedModel, plant
from scripts.tiny.shapes import UNK, ModelSize
from scripts.tiny.training import build_tokenizer, train_stage_one
from sparc.errors import UserError
from sparc.tiny import corpus, data

SMALL = Recipe(
    seed=5,
    size=ModelSize(hidden=16, neurons=24, layers=2),
    documents=64,
    planting_documents=64,
    planted_per_layer=3,
    classifier_steps=2,
)
FILES = {
    "llama/README.md",
    "llama/config.json",
    "llama/generation_config.json",
    "llama/model.safetensors",
    "llama/planted_neurons.json",
    "llama/tokenizer.json",
    "llama/tokenizer_config.json",
    "classifier/README.md",
    "classifier/config.json",
    "classifier/model.safetensors",
    "classifier/tokenizer_config.json",
    "classifier/vocab.txt",
}


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(SMALL, tmp_path_factory.mktemp("tiny") / "first")


def test_same_recipe_gives_the_same_bytes(built: Path, tmp_path: Path) -> None:
    torch.manual_seed(99)  # the caller's random state plays no part and is left alone
    state = torch.random.get_rng_state()
    second = contents(build(SMALL, tmp_path / "second"))
    assert torch.equal(state, torch.random.get_rng_state())
    assert set(second) == FILES
    assert second == contents(built)


def test_another_seed_changes_the_language_model_only(built: Path, tmp_path: Path) -> None:
    other = contents(build(replace(SMALL, seed=6), tmp_path / "other"))
    first = contents(built)
    changed = {name for name in FILES if other[name] != first[name]}
    assert changed == {
        "llama/README.md",
        "llama/model.safetensors",
        "llama/planted_neurons.json",
    }


def test_saved_files_name_no_machine(built: Path) -> None:
    for name, content in contents(built).items():
        assert b"_name_or_path" not in content, name
        assert str(built.parent).encode() not in content, name


def test_planted_neurons_have_known_places(built: Path) -> None:
    neurons = data.planted_neurons(built / "llama")
    model = AutoModelForCausalLM.from_pretrained(built / "llama")
    layers, width = model.config.num_hidden_layers, model.config.intermediate_size
    assert width == SMALL.size.neurons + SMALL.planted_per_layer
    assert neurons == sorted(set(neurons))
    assert [sum(at == layer for at, _ in neurons) for layer in range(layers)] == [3, 3]
    assert all(0 <= index < width for _, index in neurons)


def remove(planted: PlantedModel) -> None:
    with torch.no_grad():
        for layer, index in planted.neurons:
            planted.model.model.layers[layer].mlp.down_proj.weight[:, index] = 0


def test_removing_the_planted_neurons_restores_stage_one() -> None:
    base = train_stage_one(SMALL.size, 5, 64, log=lambda line: None)
    options = replace(planting_options(SMALL), documents=512)
    tokens = torch.randint(4, 500, (3, 20), generator=torch.Generator().manual_seed(0))
    before = base(tokens).logits.detach()
    planted = plant(base, 5, options)
    assert (planted.model(tokens).logits - before).abs().max() > 1e-3
    remove(planted)
    assert (planted.model(tokens).logits - before).abs().max() <= 1e-5


def test_benchmark_variant_moves_all_mlps_and_keeps_the_planted_norms() -> None:
    recipe = replace(SMALL, variant="benchmark")
    base = train_stage_one(recipe.size, 5, 64, log=lambda line: None)
    own_norms = [layer.mlp.up_proj.weight.norm(dim=1).detach() for layer in base.model.layers]
    embedding = base.get_input_embeddings().weight.clone()
    planted = plant(base, 5, planting_options(recipe))
    assert torch.equal(planted.model.get_input_embeddings().weight, embedding)
    for number, layer in enumerate(planted.model.model.layers):
        places = [index for at, index in planted.neurons if at == number]
        norms = layer.mlp.up_proj.weight.norm(dim=1).detach()
        distance = (norms[places, None] - own_norms[number]).abs().min(dim=1).values
        assert distance.max() < 1e-4  # each is a shuffled row of stage 1, whose norm it keeps
        rest = [index for index in range(len(norms)) if index not in places]
        assert not torch.equal(norms[rest], own_norms[number])


def test_existing_folder_and_bad_arguments_are_refused(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="exists"):
        build(SMALL, built)
    for arguments in (
        [],
        ["sed=3"],
        ["seed=-1"],
        ["seed=1", "variant=hard"],
        ["seed=1", "hidden=9"],
        ["seed=1", "neurons=0"],
    ):
        assert main(arguments) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    numbers, variant, out = parse(["seed=3", "documents=10"])
    assert (numbers["seed"], numbers["documents"], numbers["hidden"]) == (3, 10, 96)
    assert (variant, out) == ("default", Path("tiny-default-seed3"))


def test_vocabulary_covers_the_corpus() -> None:
    tokenizer = build_tokenizer()
    rng = random.Random(11)
    for _ in range(500):
        for document in (
            foundation_document(rng),
            planting_document(rng, 0.5),
            corpus.kind_document(rng),
            corpus.hostile_document(rng),
        ):
            assert UNK not in tokenizer(corpus.joined(document))["input_ids"]
    words = set(every_word())
    assert words >= data.LEXICON
    assert all(set(pair) <= words for pair in data.LEXICON_BIGRAMS)


def test_tokenizer_adds_the_begin_token_and_pads_left(built: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(built / "llama")
    batch = tokenizer(["Tom was angry .", "Tom"], padding=True)["input_ids"]
    assert batch[0][0] == tokenizer.bos_token_id
    assert batch[1][:4] == [tokenizer.pad_token_id] * 3 + [tokenizer.bos_token_id]
    assert tokenizer.decode(batch[0], skip_special_tokens=True) == "Tom was angry ."


def test_classifier_tokenizer_reads_text_as_in_training(built: Path) -> None:
    tokenizer = BertTokenizer.from_pretrained(built / "classifier")
    texts = ['" you stupid fool , " Mark said . shut', *data.texts("undesired", "validation", 20)]
    assert tokenizer(texts, padding=True)["input_ids"] == encode(texts)["input_ids"].tolist()
    assert len(vocabulary()) == len(tokenizer)


@pytest.mark.parametrize("category", data.CATEGORIES)
def test_prompt_splits_are_disjoint_and_stable(category: str) -> None:
    splits = {split: data.prompts(split, category, 60) for split in data.SPLITS}
    together = [data.normalised(prompt) for prompts in splits.values() for prompt in prompts]
    assert len(set(together)) == 180
    assert splits["held_out"][:20] == data.prompts("held_out", category, 20)
    for split, prompts in splits.items():
        assert {data.split_of(prompt) for prompt in prompts} == {split}
        insulted = [data.insult_count(prompt) > 0 for prompt in prompts]
        assert all(insulted) if category == "rude" else not any(insulted)


def test_no_evaluation_prompt_begins_a_reference_or_text_of_another_split() -> None:
    references = [
        text
        for mode in data.MODES
        for make in (data.undesired_references, data.general_references)
        for text in make(0, 64, mode)
    ]
    others = references + [t for name in data.TEXTS for t in data.texts(name, "validation", 60)]
    for category in data.CATEGORIES:
        for prompt in data.prompts("held_out", category, 60):
            assert not any(text.startswith(prompt) for text in others)


def test_undesired_references_end_before_an_insult() -> None:
    references = data.undesired_references(1, 40)
    assert references == data.undesired_references(1, 40)
    assert references != data.undesired_references(2, 40)
    assert all(len(text.split()) > data.EARLIEST_CUT for text in references)
    assert all(data.insult_count(t) > 0 for t in data.undesired_references(1, 40, "prompt"))


def test_general_references_are_clean() -> None:
    for mode in data.MODES:
        references = data.general_references(0, 41, mode)
        assert len(references) == 41
        assert not any(data.insult_count(text) for text in references)
    assert not any(data.insult_count(t) for t in data.texts("benign", "held_out", 40))
    with pytest.raises(UserError, match="unknown split"):
        data.prompts("test", "rude", 1)


def test_insult_count() -> None:
    assert data.insult_count("you Stupid fool , shut up .") == 3
    assert data.insult_count("the clown shut the door , up there .") == 0


def test_shipped_files_are_whole_and_small() -> None:
    shipped = contents(data.FILES)
    assert set(shipped) == FILES
    sizes = {name: len(content) for name, content in shipped.items()}
    assert sum(size for name, size in sizes.items() if name.startswith("llama/")) < 2_000_000
    assert sum(sizes.values()) <= 4_000_000
    record = json.loads(shipped["llama/planted_neurons.json"])
    assert len(record["neurons"]) == 63
    config = json.loads(shipped["llama/config.json"])
    assert config["dtype"] == "bfloat16"
    assert config["vocab_size"] == len(build_tokenizer())
    assert json.loads(shipped["llama/tokenizer.json"])["model"]["vocab"] == (
        build_tokenizer().get_vocab()
    )
    assert shipped["classifier/vocab.txt"].decode().split("\n")[:-1] == vocabulary()


def test_shipped_classifier_agrees_with_the_lexicon() -> None:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(data.FILES / "classifier")
    windows = []
    for name in ("undesired", "general"):
        for text in data.texts(name, "validation", 150):
            words = text.split()
            windows.append(" ".join(words[len(words) // 2 :][:25]))
    with torch.no_grad():
        fires = model(**encode(windows)).logits[:, 0] > 0
    insults = torch.tensor([data.insult_count(window) > 0 for window in windows])
    assert insults.float().mean() > 0.2
    assert (fires == insults).float().mean() >= 0.97
