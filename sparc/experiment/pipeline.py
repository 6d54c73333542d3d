"""The experiment from top to bottom: SparC3's correction of an undesired behaviour.

references -> attribute -> contrast -> select -> remove -> evaluate -> results, each arrow a
function of its own module. The baseline, the random control and (where the truth is known) the
oracle are measured exactly as the pruned model is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from sparc.attribution import attribute, attribute_shard
from sparc.attribution.explanations import explain
from sparc.attribution.samples import ReferenceSet
from sparc.checks import check_model
from sparc.components.files import write_contrast
from sparc.components.from_file import read_selection, refuse_other_model
from sparc.components.localisation import localisation
from sparc.components.removal import removed
from sparc.components.saving import refuse_offloaded, save_corrected_model
from sparc.components.score_report import score_contrast, score_report
from sparc.components.selection import Neuron, lowest
from sparc.config import Config
from sparc.evaluation.arms import Arms, completions_in_all, measured_arms
from sparc.evaluation.cached import measured_baseline
from sparc.evaluation.comparison import compare
from sparc.evaluation.harness import known_tasks
from sparc.evaluation.measure import Evaluation
from sparc.evaluation.verdict import verdict
from sparc.experiment.results import (
    NO_SCORES,
    completions,
    describe_evaluation,
    describe_model,
    describe_selection,
    neuron_records,
)
from sparc.generation.scorers import Scorer
from sparc.models.model import Model, load_model
from sparc.models.tokenizing import refuse_lost
from sparc.runs.provenance import Stages
from sparc.runs.references import keep_references, saved_texts
from sparc.storage.artifacts import write_json, write_lines
from sparc.tasks.dataset import Dataset, fitted, load_dataset, refuse_leaks
from sparc.tasks.prompts import refuse_too_long
from sparc.tasks.references import reference_sets
from sparc.tasks.tools import scorers_of, tools_of


@dataclass(frozen=True)
class _Ranking:
    """Neurons in the order in which they go: `amount` of them, more where a curve asks for it.

    contrast: [layers, neurons] that ranks them; None where they come from a file. cards: what is
    known of the first of them.
    """

    neurons: Sequence[Neuron]
    amount: int
    contrast: torch.Tensor | None = None
    cards: Sequence[Mapping[str, Any]] = ()

    @property
    def selection(self) -> Sequence[Neuron]:
        return self.neurons[: self.amount]


def run(
    config: Config, folder: Path, stages: Stages, results: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Run the experiment; artifacts go to `folder`, the returned parts to results.json.

    With `stage=attribute` it ends when the scores (or the shard's part) are in the cache. Parts
    go into `results` as they are found: a failure later on loses none of them.
    """
    with stages.stage("load"):
        dataset = load_dataset(config.dataset, config.evaluation, Path(config.paths.cache))
        model = load_model(config.model, config.device)
        if config.stage == "evaluate":
            refuse_other_model(config.pruning.path or "", model)
        check_model(
            config, len(model.blocks), model.neurons_per_layer, model.network.config.vocab_size
        )
        if config.pruning.save_model:
            refuse_offloaded(model)
        # Before attribution takes its hours: missing weights and tasks are told now.
        scorers = scorers_of(config, model, dataset.lexicon)
        if config.stage != "attribute":
            known_tasks(config.evaluation.lm_eval)
    with stages.stage("references"):
        dataset = fitted(dataset, tools_of(config, model, scorers, stages))
        path = f"model.path={config.model.path}"
        refuse_lost(chain(*dataset.prompts.values()), model.tokenizer, path)
        if config.stage != "attribute":
            refuse_too_long(dataset.prompts, model, config.evaluation.sampling.max_new_tokens)
        references = [] if _is_given(config) else reference_sets(model, dataset, config.dataset)
        texts = [text for each in references for text in each.texts]
        refuse_leaks(dataset, texts or saved_texts(config.pruning.path), config.evaluation)
    results = {} if results is None else results
    results |= {"model": describe_model(model), "score_report": NO_SCORES}
    if _is_given(config):
        neurons = read_selection(config.pruning.path or "", model)
        ranking = _Ranking(neurons, len(neurons))
        keep_references(config.pruning.path or "", folder)
    else:
        found, ranked = _rank(config, model, references, folder, stages)
        results |= found
        if ranked is None or config.stage == "attribute":
            return results
        ranking = ranked
    contrast, selection = ranking.contrast, ranking.selection
    write_json(folder / "neurons.json", neuron_records(selection, contrast, ranking.cards))
    if contrast is not None:
        write_contrast(folder / "contrast.safetensors", contrast)
    results["selection"] = describe_selection(config, model, selection)
    results["localisation"] = None
    if contrast is not None and model.planted:
        results["localisation"] = localisation(contrast, model.planted)

    evaluation, measured = _evaluate(config, model, dataset, scorers, ranking, stages)
    arms = measured[ranking.amount]
    write_lines(folder / "completions.jsonl", completions(config, dataset, arms))
    with stages.stage("statistics"):
        trees, findings = compare(arms, config.evaluation, config.dataset, config.seed)
        curve = _curve(config, measured)
    described = describe_evaluation(config, evaluation, arms, findings)
    results |= {"evaluation": described, **trees, "curve": curve, "verdict": verdict(findings)}
    if config.pruning.save_model:
        with stages.stage("save"), removed(model, selection):
            save_corrected_model(model, selection, results, folder / "corrected_model")
    return results


def _rank(
    config: Config,
    model: Model,
    references: Sequence[ReferenceSet],
    folder: Path,
    stages: Stages,
) -> tuple[dict[str, Any], _Ranking | None]:
    """Attribute the references and rank the neurons by contrast; None while shards are missing."""
    write_lines(folder / "references.jsonl", (r for s in references for r in s.records()))
    cache = Path(config.paths.cache)
    samples = sum(len(reference_set.texts) for reference_set in references)
    with (
        stages.stage("attribution") as record,
        stages.progress("attribution: reference samples", samples) as advance,
    ):
        if config.attribution.shard is not None:
            missing = attribute_shard(model, references, config.attribution, cache, advance)
            if missing:
                return {"missing_shards": missing}, None
        scores, record["cached"] = attribute(model, references, config.attribution, cache, advance)
    contrast, amount = score_contrast(scores), config.pruning.num_neurons
    neurons = lowest(contrast, max([amount, *config.pruning.curve]), config.pruning.layers)
    ranking = _Ranking(neurons, amount, contrast)
    if config.stage == "all":
        with stages.stage("explanations"):
            explained, cards = explain(
                model, references, scores, contrast, ranking.selection, config.attribution
            )
        write_json(folder / "explanations.json", explained)
        ranking = replace(ranking, cards=cards)
    return {"score_report": score_report(scores, amount, config.pruning.layers)}, ranking


def _is_given(config: Config) -> bool:
    """Whether the selection comes from a file, and no references are needed."""
    return config.pruning.method == "from_file" and config.stage != "attribute"


def _evaluate(
    config: Config,
    model: Model,
    dataset: Dataset,
    scorers: Mapping[str, Scorer],
    ranking: _Ranking,
    stages: Stages,
) -> tuple[Evaluation, Mapping[int, Arms]]:
    """amount -> baseline, pruned, random controls and oracle, all on the same prompts."""
    cache = Path(config.paths.cache)
    amounts = sorted({ranking.amount, *config.pruning.curve})
    with stages.stage("baseline") as record:
        evaluation = Evaluation(model, dataset, config.evaluation, scorers, config.seed)
        with stages.progress("baseline: completions", evaluation.completions) as advance:
            baseline, record["cached"] = measured_baseline(evaluation, cache, advance)
    with stages.stage("evaluation") as record:
        total = completions_in_all(evaluation, len(amounts))
        with stages.progress("evaluation: completions", total) as advance:
            selections = [ranking.neurons[:amount] for amount in amounts]
            arms, record["cached"] = measured_arms(evaluation, baseline, selections, cache, advance)
    return evaluation, dict(zip(amounts, arms, strict=True))


def _curve(config: Config, measured: Mapping[int, Arms]) -> list[dict[str, Any]]:
    """One entry for each amount of `pruning.curve`, equal to what separate runs find."""
    curve = []
    for amount in config.pruning.curve:
        trees, _ = compare(measured[amount], config.evaluation, config.dataset, config.seed)
        point = {name: trees[name] for name in ("pruned", "change", "control")}
        curve.append({"num_neurons": amount, **point})
    return curve
