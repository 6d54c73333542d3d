"""Impossible values in a configuration, found before anything is loaded."""

from sparc.checks.dataset import dataset_complaints
from sparc.checks.files import file_complaints
from sparc.checks.leaves import leaf_complaints
from sparc.checks.parts import (
    evaluation_complaints,
    model_complaints,
    run_complaints,
    tracking_complaints,
)
from sparc.checks.pruning import amount_complaints, pruning_complaints
from sparc.checks.values import choices, numbers
from sparc.config import Config
from sparc.config.methods import attribution_complaints
from sparc.errors import UserError


def check(config: Config) -> None:
    """Raise UserError with the first impossible value or combination."""
    checkers = (
        leaf_complaints,
        run_complaints,
        model_complaints,
        choices,
        numbers,
        dataset_complaints,
        attribution_complaints,
        pruning_complaints,
        evaluation_complaints,
        tracking_complaints,
        file_complaints,
    )
    for checker in checkers:
        for complaint in checker(config):
            raise UserError(complaint)


def check_model(config: Config, num_layers: int, neurons: int, vocabulary: int) -> None:
    """Raise UserError for what a loaded model cannot give, before anything expensive starts."""
    for complaint in amount_complaints(config.pruning, num_layers, neurons):
        raise UserError(complaint)
    beyond = [token for token in config.attribution.target.token_ids if token >= vocabulary]
    if beyond:
        raise UserError(
            f"attribution.target.token_ids: {beyond} are not among the model's {vocabulary} tokens"
        )
