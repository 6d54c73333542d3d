"""Reference samples: the tokenised texts whose relevance is attributed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sparc.config import DatasetConfig
from sparc.datasets import GENERAL, UNDESIRED, Dataset
from sparc.digests import digest
from sparc.errors import UserError
from sparc.models import Model


@dataclass(frozen=True)
class ReferenceSet:
    """The reference samples of one set (`general`, `undesired`) and one reference seed."""

    name: str
    seed: int
    texts: tuple[str, ...]
    token_ids: tuple[tuple[int, ...], ...]

    @property
    def fingerprint(self) -> str:
        """Hash of what is attributed: the token ids, in order."""
        return digest(self.token_ids)

    def records(self) -> list[dict[str, Any]]:
        """One record a sample, as in references.jsonl."""
        return [
            {"set": self.name, "seed": self.seed, "token_ids": list(ids), "text": text}
            for ids, text in zip(self.token_ids, self.texts, strict=True)
        ]


def _tokenise(model: Model, texts: Sequence[str], name: str) -> tuple[tuple[int, ...], ...]:
    encoded = tuple(tuple(ids) for ids in model.tokenizer(list(texts))["input_ids"])
    for position, ids in enumerate(encoded):
        if not 0 < len(ids) <= model.max_length:
            raise UserError(
                f"{name} reference {position} has {len(ids)} tokens; "
                f"the model takes 1 to {model.max_length}"
            )
    return encoded


def reference_sets(model: Model, dataset: Dataset, config: DatasetConfig) -> list[ReferenceSet]:
    """General and undesired reference samples for each reference seed, tokenised for `model`.

    Raises UserError for a text that is empty or longer than the context.
    """
    sets = []
    for seed in config.reference_seeds:
        for name in (GENERAL, UNDESIRED):
            texts = tuple(dataset.references(name, seed))
            sets.append(ReferenceSet(name, seed, texts, _tokenise(model, texts, name)))
    return sets
