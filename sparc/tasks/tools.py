"""What a run has at hand besides its model: the scorers, and with what references are found."""

from collections.abc import Mapping
from pathlib import Path

from sparc.config import Config, answers
from sparc.generation.scorers import Scorer, load_scorers
from sparc.models.model import Model
from sparc.runs.provenance import Stages
from sparc.tasks.dataset import Dataset, Tools


def scorers_of(config: Config, model: Model, dataset: Dataset) -> dict[str, Scorer]:
    """The scorers, where anything is to be scored: completions, or responses for references."""
    if config.stage == "attribute" and not answers(config.dataset.undesired):
        return {}
    device = config.evaluation.scorer_device
    device = str(model.device) if device == "auto" else device
    return load_scorers(config.evaluation, dataset.lexicon, device, Path(config.paths.cache))


def tools_of(
    config: Config, model: Model, dataset: Dataset, scorers: Mapping[str, Scorer], stages: Stages
) -> Tools:
    """What the data set finds this model's responses with; the primary scorer judges them."""
    primary = config.evaluation.scorers[0]
    return Tools(model, Path(config.paths.cache), stages.progress, scorers.get(primary))
