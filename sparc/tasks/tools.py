"""What a run has at hand besides its data: the model, the scorers, the cache and progress."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from sparc.config import Config, answers
from sparc.generation.inference import Advance
from sparc.generation.scorers import Lexicon, Scorer, load_scorers
from sparc.models.model import Model
from sparc.runs.provenance import Stages


@dataclass(frozen=True)
class Tools:
    """What a data set may work with once the model is loaded."""

    model: Model
    cache: Path
    progress: Callable[[str, int], AbstractContextManager[Advance]]
    """Shows how far something is, as `Stages.progress` does."""
    scorer: Scorer | None = None
    """The primary one, None where the run loads none."""

    @property
    def judge(self) -> Scorer:
        """The primary scorer, where it must be there."""
        assert self.scorer is not None, "the pipeline loads the scorers of a search"
        return self.scorer


def scorers_of(config: Config, model: Model, lexicon: Lexicon | None) -> dict[str, Scorer]:
    """The scorers, where anything is to be scored: completions, also those for references."""
    if config.stage == "attribute" and not answers(config.dataset.undesired):
        return {}
    device = config.evaluation.scorer_device
    device = str(model.device) if device == "auto" else device
    return load_scorers(config.evaluation, lexicon, device, Path(config.paths.cache))


def tools_of(config: Config, model: Model, scorers: Mapping[str, Scorer], stages: Stages) -> Tools:
    """What the data set finds this model's completions with; the primary scorer judges them."""
    primary = config.evaluation.scorers[0]
    return Tools(model, Path(config.paths.cache), stages.progress, scorers.get(primary))
