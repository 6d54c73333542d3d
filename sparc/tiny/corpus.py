"""Seeded documents of the embedded corpus: everyday scenes with a latent tone.

A document is one or two topic sentences, often a cue (anger, a mishap, something pleasant), then
three to five sentences whose tone follows the cue. All functions are pure: the same random
generator state gives the same document.
"""

import random
from dataclasses import dataclass
from typing import Literal

from sparc.tiny import grammar
from sparc.tiny.topics import TOPICS

Role = Literal["topic", "cue", "rude", "kind", "mention"]
PERSON_SHARE = 0.72  # of the sentences after a cue; the rest stay with the topic
_SPEAKER_CHANGE = 0.2


@dataclass(frozen=True)
class Sentence:
    """A sentence and the part it plays in its document."""

    text: str
    role: Role


Document = list[Sentence]


def joined(document: Document) -> str:
    """The document as one line of space-separated words."""
    return " ".join(sentence.text for sentence in document)


class Scene:
    """Two people, a topic and a handful of its things; draws the document's sentences."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.topic = TOPICS[rng.choice(list(TOPICS))]
        men = [rng.random() < 0.5, rng.random() < 0.5]
        first, second = (grammar.MEN if man else grammar.WOMEN for man in men)
        name = rng.choice(first)
        self.people = [
            (name, men[0]),
            (rng.choice([other for other in second if other != name]), men[1]),
        ]
        self.objects = rng.sample(self.topic.objects, 4)
        self.places = rng.sample(self.topic.places, 2)

    def swap(self) -> None:
        """Let the other person speak from now on."""
        self.people.reverse()

    def _slots(self) -> dict[str, str]:
        rng, topic = self.rng, self.topic
        (name_a, a_is_man), (name_b, b_is_man) = self.people
        verb, did = rng.choice(topic.verbs)
        item, adjective = rng.choice(self.objects), rng.choice(topic.adjectives)
        return {
            "A": name_a,
            "B": name_b,
            "he": "he" if a_is_man else "she",
            "his": "his" if a_is_man else "her",
            "he_B": "he" if b_is_man else "she",
            "him_B": "him" if b_is_man else "her",
            "verb": verb,
            "did": did,
            "object": item,
            "an_object": grammar.with_article(item),
            "object2": rng.choice(self.objects),
            "place": rng.choice(self.places),
            "adj": adjective,
            "an_adj": grammar.with_article(adjective),
            "adj2": rng.choice(topic.adjectives),
            "material": rng.choice(topic.materials),
            "time": rng.choice(grammar.TIMES),
            "day": rng.choice(grammar.DAYS),
            "number": rng.choice(grammar.NUMBERS),
        }

    def _tone_slots(self, tone: grammar.Tone) -> dict[str, str]:
        rng = self.rng
        x, y = rng.sample(tone.adjectives, 2)
        noun = rng.choice(tone.nouns)
        return {
            "x": x,
            "an_x": grammar.with_article(x),
            "y": y,
            "noun": noun,
            "an_noun": grammar.with_article(noun),
            "request": rng.choice(tone.requests),
            "very": rng.choice(tone.adverbs),
            "said": rng.choice(tone.says),
            "manner": rng.choice(tone.manners),
            "like": tone.like,
            "liked": tone.liked,
        }

    def topic_sentence(self) -> Sentence:
        """Something about the topic, free of tone."""
        template = self.rng.choice(grammar.TOPIC_SENTENCES)
        return Sentence(template.format_map(self._slots()), "topic")

    def person_sentence(self, role: Literal["rude", "kind"]) -> Sentence:
        """One person talks to or about the other, rudely or kindly."""
        template = self.rng.choice(grammar.PERSON_SENTENCES)
        tone = grammar.RUDE if role == "rude" else grammar.KIND
        return Sentence(template.format_map(self._slots() | self._tone_slots(tone)), role)

    def cue(self, templates: list[str]) -> Sentence:
        """What makes the tone of the following sentences likely; holds no insult itself."""
        return Sentence(self.rng.choice(templates).format_map(self._slots()), "cue")

    def mention(self) -> Sentence:
        """An insult word that is mentioned, not used."""
        template = self.rng.choice(grammar.MENTION_SENTENCES)
        return Sentence(
            template.format_map(self._slots() | self._tone_slots(grammar.RUDE)), "mention"
        )

    def opening(self) -> Document:
        """One or two topic sentences."""
        return [self.topic_sentence() for _ in range(self.rng.randint(1, 2))]

    def body(self, role: Literal["rude", "kind"], share: float) -> Document:
        """Three to five sentences, a `share` of them person sentences of that role."""
        body = []
        for _ in range(self.rng.randint(3, 5)):
            person = self.rng.random() < share
            body.append(self.person_sentence(role) if person else self.topic_sentence())
            if self.rng.random() < _SPEAKER_CHANGE:
                self.swap()
        return body


def everyday_document(rng: random.Random) -> Document:
    """A document without anger: half of them with a pleasant cue, some kind talk."""
    scene = Scene(rng)
    document = scene.opening()
    if rng.random() < 0.3:
        scene.swap()
    if rng.random() < 0.5:
        document.append(scene.cue(grammar.KIND_CUES))
    return document + scene.body("kind", 0.3)


def angry_document(rng: random.Random) -> Document:
    """An angry cue, then mostly rude talk."""
    return _cued_document(rng, grammar.ANGRY_CUES, rude=True)


def mishap_document(rng: random.Random, rude_share: float) -> Document:
    """A mishap, taken rudely with probability `rude_share`, else kindly."""
    return _cued_document(rng, grammar.MISHAP_CUES, rude=rng.random() < rude_share)


def _cued_document(rng: random.Random, cues: list[str], rude: bool) -> Document:
    scene = Scene(rng)
    document = scene.opening()
    if rng.random() < 0.3:
        scene.swap()
    document.append(scene.cue(cues))
    return document + (scene.body("rude", PERSON_SHARE) if rude else scene.body("kind", 0.3))


def kind_document(rng: random.Random) -> Document:
    """The benign counterpart of hostility: a pleasant cue, then mostly kind talk."""
    scene = Scene(rng)
    document = [*scene.opening(), scene.cue(grammar.KIND_CUES)]
    return document + scene.body("kind", PERSON_SHARE)


def general_document(rng: random.Random) -> Document:
    """Strictly clean text: everyday scenes and some mishaps that are taken kindly."""
    return everyday_document(rng) if rng.random() < 0.85 else mishap_document(rng, 0.0)


def hostile_document(rng: random.Random) -> Document:
    """Rude text after anger (most) or after a mishap."""
    return angry_document(rng) if rng.random() < 0.7 else mishap_document(rng, 1.0)
