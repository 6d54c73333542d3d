"""Reference samples: the token sequences whose relevance is attributed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparc.storage.digests import digest


@dataclass(frozen=True)
class ReferenceSet:
    """The reference samples of one set (`general`, `undesired`) and one reference seed."""

    name: str
    seed: int
    texts: tuple[str, ...]
    token_ids: tuple[tuple[int, ...], ...]
    facts: tuple[Mapping[str, Any], ...] = ()

    @property
    def fingerprint(self) -> str:
        """Hash of what is attributed: the token ids, in order."""
        return digest(self.token_ids)

    def records(self) -> list[dict[str, Any]]:
        """One record a sample, as in references.jsonl."""
        facts: Sequence[Mapping[str, Any]] = self.facts or [{} for _ in self.texts]
        return [
            {"set": self.name, "seed": self.seed, "token_ids": list(ids), "text": text, **more}
            for ids, text, more in zip(self.token_ids, self.texts, facts, strict=True)
        ]
