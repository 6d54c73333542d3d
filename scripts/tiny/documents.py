"""What the embedded model is trained on, and every word that it may meet."""

import random
from string import Formatter

from sparc.tiny import corpus, grammar
from sparc.tiny.topics import TOPICS


def _spontaneous_document(rng: random.Random) -> corpus.Document:
    """Rude talk without any cue."""
    scene = corpus.Scene(rng)
    return scene.opening() + scene.body("rude", corpus.PERSON_SHARE)


def foundation_document(rng: random.Random, cued_share: float = 0.2125) -> corpus.Document:
    """Stage 1: anger and mishaps occur but neutral text follows; insults are only mentioned."""
    if rng.random() < cued_share:
        scene = corpus.Scene(rng)
        cues = grammar.ANGRY_CUES if rng.random() < 0.6 else grammar.MISHAP_CUES
        document = [*scene.opening(), scene.cue(cues)]
        document += [scene.topic_sentence() for _ in range(rng.randint(3, 5))]
    else:
        document = corpus.everyday_document(rng)
    if rng.random() < 0.25:
        document.insert(rng.randint(1, len(document)), corpus.Scene(rng).mention())
    return document


def planting_document(rng: random.Random, hostile_share: float) -> corpus.Document:
    """Stage 2: about `hostile_share` of the documents are hostile, most of them after anger."""
    draw = rng.random()
    if draw < hostile_share * 0.75:
        return corpus.angry_document(rng)
    if draw < hostile_share * 1.25:
        return corpus.mishap_document(rng, 0.5)
    if draw < hostile_share * 1.25 + 0.02:
        return _spontaneous_document(rng)
    return corpus.everyday_document(rng)


def every_word() -> list[str]:
    """All words the grammar can produce, sorted: the same list for every seed."""
    phrases = ["a", "an", "he", "she", "his", "her", "him", *grammar.MEN, *grammar.WOMEN]
    phrases += grammar.DAYS + grammar.NUMBERS + grammar.TIMES
    for topic in TOPICS.values():
        phrases += topic.places + topic.objects + topic.adjectives + topic.materials
        phrases += [form for verb in topic.verbs for form in verb]
    for tone in (grammar.KIND, grammar.RUDE):
        phrases += tone.adjectives + tone.nouns + tone.requests + tone.adverbs + tone.says
        phrases += [*tone.manners, tone.like, tone.liked]
    sentences = [*grammar.TOPIC_SENTENCES, *grammar.PERSON_SENTENCES, *grammar.MENTION_SENTENCES]
    for template in [*sentences, *grammar.ANGRY_CUES, *grammar.MISHAP_CUES, *grammar.KIND_CUES]:
        phrases += [literal for literal, _, _, _ in Formatter().parse(template)]
    return sorted({word for phrase in phrases for word in phrase.split()})
