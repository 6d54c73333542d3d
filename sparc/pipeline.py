"""The experiment from top to bottom: SparC3's correction of an undesired behaviour.

references -> attribute -> contrast -> select -> remove -> evaluate -> results, each arrow a
function of its own module. The baseline, the random control and (where the truth is known) the
oracle are measured exactly as the pruned model is.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from sparc.artifacts import write_json, write_lines
from sparc.attribution import attribute
from sparc.config import Config
from sparc.console import progress
from sparc.datasets import Dataset, load_dataset
from sparc.evaluation.comparison import Arms, compare
from sparc.evaluation.measure import Measurement, completion_records, load_scorers, measure
from sparc.evaluation.perplexity import assert_sane_baseline
from sparc.evaluation.verdict import verdict
from sparc.models import Model, load_model
from sparc.provenance import Stages
from sparc.pruning.localisation import localisation
from sparc.pruning.removal import removed
from sparc.pruning.saving import save_corrected_model
from sparc.pruning.selection import Neuron, layer_matched, lowest, per_layer
from sparc.references import ReferenceSet, reference_sets
from sparc.score_report import score_contrast, score_report


def run(config: Config, folder: Path, stages: Stages) -> dict[str, Any]:
    """Run the experiment; artifacts go to `folder`, the returned parts to results.json.

    With `stage=attribute` it ends when the scores are in the cache.
    """
    with stages.stage("load"):
        dataset = load_dataset(config.dataset, config.evaluation)
        model = load_model(config.model, config.device)
        references = reference_sets(model, dataset, config.dataset)
    write_lines(folder / "references.jsonl", (r for s in references for r in s.records()))

    with stages.stage("attribution") as record:
        contrast, report, record["cached"] = _attribute(config, model, references)
    results: dict[str, Any] = {"model": _describe(model), "score_report": report}
    if config.stage == "attribute":
        return results

    selection = lowest(contrast, config.pruning.num_neurons, config.pruning.layers)
    write_json(folder / "neurons.json", _neurons(selection, contrast))
    results["selection"] = _describe_selection(config, model, selection)
    results["localisation"] = localisation(contrast, model.planted) if model.planted else None

    with stages.stage("evaluation"):
        arms = _measure_arms(config, model, dataset, selection)
    write_lines(folder / "completions.jsonl", _completions(config, dataset, arms))
    with stages.stage("statistics"):
        trees, found = compare(arms, config.evaluation, config.dataset, config.seed)
    results |= {"evaluation": _describe_evaluation(config), **trees, "curve": []}
    results["verdict"] = verdict(found)
    if config.pruning.save_model:
        with stages.stage("save"), removed(model, selection):
            save_corrected_model(model, selection, results, folder / "corrected_model")
    return results


def _attribute(
    config: Config, model: Model, references: Sequence[ReferenceSet]
) -> tuple[torch.Tensor, dict[str, Any], bool]:
    samples = sum(len(reference_set.texts) for reference_set in references)
    with progress("attribution: reference samples", samples) as advance:
        scores, cached = attribute(
            model, references, config.attribution, Path(config.paths.cache), advance
        )
    return score_contrast(scores), score_report(scores, config.pruning.num_neurons), cached


def _measure_arms(
    config: Config, model: Model, dataset: Dataset, selection: Sequence[Neuron]
) -> Arms:
    """Baseline, pruned, random draws and oracle, on the same prompts and random streams."""
    evaluation = config.evaluation
    scorers = load_scorers(evaluation, dataset, model.device, Path(config.paths.cache))
    draws = [
        layer_matched(selection, model.neurons_per_layer, (config.seed, draw))
        for draw in range(evaluation.random_draws)
    ]
    prompts = sum(len(each) for each in dataset.prompts.values())
    total = prompts * evaluation.sampling.samples * (2 + len(draws) + (model.planted is not None))
    with progress("evaluation: completions", total) as advance:

        def measured(neurons: Sequence[Neuron]) -> Measurement:
            with removed(model, neurons):
                return measure(model, dataset, evaluation, scorers, config.seed, advance)

        baseline = measured(())
        for name, text in baseline.texts.items():
            assert_sane_baseline(name, text)
        return Arms(
            baseline=baseline,
            pruned=measured(selection),
            draws=[measured(draw) for draw in draws],
            oracle=measured(model.planted) if model.planted else None,
        )


def _completions(config: Config, dataset: Dataset, arms: Arms) -> Iterator[dict[str, Any]]:
    named: list[tuple[str, int | None, Measurement]] = [
        ("baseline", None, arms.baseline),
        ("pruned", None, arms.pruned),
    ]
    named += [("random", draw, measurement) for draw, measurement in enumerate(arms.draws)]
    if arms.oracle is not None:
        named.append(("oracle", None, arms.oracle))
    for arm, draw, measurement in named:
        yield from completion_records(
            measurement,
            dataset.prompts,
            config.evaluation.scorers[0],
            arm=arm,
            seed=config.seed,
            draw=draw,
        )


def _neurons(selection: Sequence[Neuron], contrast: torch.Tensor) -> list[dict[str, Any]]:
    return [
        {"layer": layer, "index": index, "score": float(contrast[layer, index])}
        for layer, index in selection
    ]


def _describe(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "source": model.source,
        "fingerprint": model.fingerprint,
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "neurons": model.num_neurons,
    }


def _describe_selection(
    config: Config, model: Model, selection: Sequence[Neuron]
) -> dict[str, Any]:
    return {
        "method": config.attribution.name,
        "granularity": config.pruning.method,
        "num_pruned": len(selection),
        "fraction": len(selection) / model.num_neurons,
        "per_layer": per_layer(selection, len(model.blocks)),
    }


def _describe_evaluation(config: Config) -> dict[str, Any]:
    evaluation = config.evaluation
    return {
        "in_sample": evaluation.in_sample,
        "split": evaluation.split,
        "threshold": evaluation.threshold,
        "scorers": list(evaluation.scorers),
        "primary_metric": f"toxicity.{config.dataset.primary_metric}",
        "k": evaluation.sampling.samples,
        "n_prompts": evaluation.prompts,
    }
