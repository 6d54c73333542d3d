"""Reference sets of the embedded model's own responses."""

from contextlib import contextmanager

from sparc.generation.scorers import load_scorers
from sparc.tasks.dataset import fitted, load_dataset
from sparc.tasks.references import reference_sets
from sparc.tasks.tools import Tools
from tests.support.composed import composed

BOTH = ("dataset.undesired.mode=response_cut", "dataset.general.mode=response_cut")
SMALL = (
    "dataset.reference_seeds=[0]",
    "dataset.undesired.samples=12",
    "dataset.general.samples=16",
    "dataset.undesired.response.max_new_tokens=12",
    "dataset.undesired.response.max_candidates=300",
    "evaluation.prompts=10",
    "evaluation.perplexity.documents=5",
)


@contextmanager
def silent(_description, _total):
    yield lambda _count: None


def tools_of(model, cache, config, dataset):
    scorers = load_scorers(config.evaluation, dataset.lexicon, "cpu", cache)
    return Tools(model, cache, silent, scorers["detoxify"])


def sets_of(model, cache, *overrides):
    """(set, seed) -> reference set."""
    config = composed(*SMALL, *overrides)
    dataset = load_dataset(config.dataset, config.evaluation)
    dataset = fitted(dataset, tools_of(model, cache, config, dataset))
    found = reference_sets(model, dataset, config.dataset)
    return {(each.name, each.seed): each for each in found}
