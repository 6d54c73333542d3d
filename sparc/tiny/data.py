"""What the pipeline reads of the embedded model: references, prompts, texts and the lexicon.

Everything here is a pure function of its arguments. Three splits keep attribution, choosing and
reporting apart: a document and all that is cut from it belong to the split that a stable hash of
its opening (its first sentence) names. So no prompt or text of one split can be the beginning of
a reference, prompt or text of another.
"""

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Literal

from sparc.errors import UserError
from sparc.tiny import corpus, grammar

Split = Literal["attribution", "validation", "held_out"]

SPLITS: tuple[Split, ...] = ("attribution", "validation", "held_out")
CATEGORIES = ("rude", "angry", "mishap", "neutral")
TEXTS = ("general", "benign", "undesired")
LEXICON = grammar.LEXICON
LEXICON_BIGRAMS = grammar.LEXICON_BIGRAMS
FILES = Path(__file__).parent / "files"

MODES = ("cut", "whole", "prompt")
EARLIEST_CUT = 12  # words: a reference holds a scene, not only a name
_SHORTEST = 15  # words of a reference that is cut anywhere

# A like (or a request such as "come in") stands where a rude speaker would put an insult.
_KIND_WORDS = frozenset(
    [*grammar.KIND.adjectives, *grammar.KIND.nouns, grammar.KIND.like, grammar.KIND.liked]
    + [request.split()[0] for request in grammar.KIND.requests]
)


def split_of(text: str) -> Split:
    """The split of a prompt, reference or document: a SHA-256 of its normalised opening."""
    opening, _, _ = f"{normalised(text)} ".partition(" . ")
    digest = hashlib.sha256(opening.encode()).digest()
    return SPLITS[int.from_bytes(digest[:8]) % len(SPLITS)]


def normalised(text: str) -> str:
    """Lower case, single spaces."""
    return " ".join(text.lower().split())


def insult_count(text: str) -> int:
    """How many unambiguous insults (words and word pairs of the lexicon) the text holds."""
    words = text.lower().split()
    pairs = pairwise(words)
    return sum(w in LEXICON for w in words) + sum(pair in LEXICON_BIGRAMS for pair in pairs)


def undesired_references(seed: int, n: int, mode: str = "cut") -> list[str]:
    """`n` hostile reference texts of the attribution split.

    "cut" ends each text just before an unambiguous insult, so that its last position is the one
    where the behaviour is about to fire; "whole" keeps the document; "prompt" gives rude prompts.
    """
    _require(mode, MODES, "reference mode")
    rng = random.Random(f"sparc.tiny undesired references {seed}")

    def draw() -> str | None:
        if mode == "prompt":
            return _prompt(rng, "rude")
        document = corpus.hostile_document(rng)
        if mode == "whole":
            return corpus.joined(document)
        return _cut_before(document, "rude", LEXICON, rng)

    return _take(n, draw, "attribution")


def general_references(seed: int, n: int, mode: str = "cut") -> list[str]:
    """`n` clean reference texts of the attribution split; the benign half comes second.

    First general documents, then benign documents in which people talk about each other as in
    hostile ones, but kindly. "cut" ends the first at random places and the second just before a
    kind word; "whole" keeps both; "prompt" gives neutral prompts and benign text up to its first
    kind sentence.
    """
    _require(mode, MODES, "reference mode")
    rng = random.Random(f"sparc.tiny general references {seed}")

    def draw_general() -> str | None:
        if mode == "prompt":
            return _prompt(rng, "neutral")
        document = corpus.general_document(rng)
        return corpus.joined(document) if mode == "whole" else _cut_anywhere(document, rng)

    def draw_benign() -> str | None:
        document = corpus.kind_document(rng)
        if mode == "prompt":
            return _until_first(document, "kind")
        if mode == "whole":
            return corpus.joined(document)
        return _cut_before(document, "kind", _KIND_WORDS, rng)

    general = _take(n - n // 2, draw_general, "attribution")
    return general + _take(n // 2, draw_benign, "attribution")


def prompts(split: str, category: str, n: int) -> list[str]:
    """`n` distinct prompts of a category that belong to `split`.

    rude: the scene has already turned rude; angry: up to an angry cue; mishap: up to a mishap;
    neutral: everyday text. Most end a few words into the next sentence.
    """
    _require(split, SPLITS, "split")
    _require(category, CATEGORIES, "prompt category")
    rng = random.Random(f"sparc.tiny prompts {category}")
    return _take(n, lambda: _prompt(rng, category), split)


def texts(name: str, split: str, n: int) -> list[str]:
    """`n` distinct documents of `split`: general, benign (kind talk) or undesired (hostile)."""
    _require(split, SPLITS, "split")
    _require(name, TEXTS, "text")
    make = {
        "general": corpus.general_document,
        "benign": corpus.kind_document,
        "undesired": corpus.hostile_document,
    }[name]
    rng = random.Random(f"sparc.tiny texts {name}")
    return _take(n, lambda: corpus.joined(make(rng)), split)


def planted_neurons(folder: Path = FILES / "llama") -> list[tuple[int, int]]:
    """The (layer, index) of the neurons that carry the planted behaviour, sorted."""
    record = json.loads((folder / "planted_neurons.json").read_text(encoding="utf-8"))
    return [(layer, index) for layer, index in record["neurons"]]


def _take(n: int, draw: Callable[[], str | None], split: str) -> list[str]:
    """The first `n` distinct texts of `split` among the draws; a draw may fail with None."""
    found: dict[str, str] = {}
    while len(found) < n:
        text = draw()
        if text is not None and split_of(text) == split:
            found.setdefault(normalised(text), text)
    return list(found.values())


def _words(document: corpus.Document) -> Iterator[tuple[str, corpus.Role]]:
    for sentence in document:
        for word in sentence.text.split():
            yield word, sentence.role


def _cut_before(
    document: corpus.Document, role: corpus.Role, words: frozenset[str], rng: random.Random
) -> str | None:
    """The text before one of `words` in a sentence of that role; None where there is none."""
    places = [
        place
        for place, (word, found) in enumerate(_words(document))
        if place > EARLIEST_CUT and found == role and word in words
    ]
    return _first_words(document, rng.choice(places)) if places else None


def _cut_anywhere(document: corpus.Document, rng: random.Random) -> str:
    return _first_words(document, rng.randint(_SHORTEST, len(list(_words(document))) - 1))


def _first_words(document: corpus.Document, count: int) -> str:
    return " ".join(corpus.joined(document).split()[:count])


def _until_first(document: corpus.Document, role: corpus.Role) -> str | None:
    """The text up to and including the first sentence of that role; None where there is none."""
    roles = [sentence.role for sentence in document]
    return corpus.joined(document[: roles.index(role) + 1]) if role in roles else None


def _prompt(rng: random.Random, category: str) -> str | None:
    """One prompt of the category; None when the drawn document does not lend itself to it."""
    if category == "neutral":
        document = corpus.everyday_document(rng)
        last = rng.randint(1, 2)
    else:
        mishap = category == "mishap"
        document = corpus.mishap_document(rng, 0.4) if mishap else corpus.angry_document(rng)
        role = "rude" if category == "rude" else "cue"
        roles = [sentence.role for sentence in document]
        if role not in roles[:-1]:
            return None
        last = roles.index(role)
        if category == "rude" and insult_count(document[last].text) == 0:
            return None
    ahead = document[last + 1].text.split()
    ahead = ahead[: rng.randint(0, min(3, len(ahead) - 1))]
    if insult_count(" ".join(ahead)) > 0:
        return None
    return " ".join([corpus.joined(document[: last + 1]), *ahead])


def _require(value: str, allowed: tuple[str, ...], what: str) -> None:
    if value not in allowed:
        raise UserError(f"unknown {what} '{value}': choose one of {', '.join(allowed)}")
