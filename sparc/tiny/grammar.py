"""Word lists and sentence templates of the embedded corpus.

A sentence is a template whose slots are filled from the lists, every word and every punctuation
mark separated by a space, so that the whole vocabulary is known without sampling anything.
`{A}` speaks to `{B}`; `{he}` and `{his}` belong to A, `{he_B}` and `{him_B}` to B. A slot with the
prefix `an_` carries its article. The insults are mild on purpose.
"""

from dataclasses import dataclass


def _words(text: str) -> list[str]:
    return text.split()


MEN = _words(
    "Tom Sam Ben Jack Paul Mark Peter Henry Oscar Leo Max Adam David Simon Luke Felix Hugo Ivan "
    "Noah Carl Frank George Martin Oliver Victor Walter Alan Eric Kevin Robert"
)
WOMEN = _words(
    "Anna Mary Lucy Emma Sara Julia Clara Nina Laura Alice Ella Maria Rosa Helen Ruth Grace Eva "
    "Diana Irene Kate Linda Nora Olga Paula Rita Susan Tina Vera Wendy Zoe"
)
DAYS = _words("monday tuesday wednesday thursday friday saturday sunday")
NUMBERS = _words("two three four five six seven eight nine ten twelve")
TIMES = [
    "in the morning", "in the afternoon", "in the evening", "at noon", "before lunch",
    "after dinner", "late at night", "for an hour", "all day", "last week", "on the weekend",
    "in spring", "in winter",
]  # fmt: skip


@dataclass(frozen=True)
class Tone:
    """How one person talks to another."""

    adjectives: list[str]
    nouns: list[str]
    requests: list[str]
    adverbs: list[str]
    says: list[str]
    manners: list[str]
    like: str
    liked: str


KIND = Tone(
    _words(
        "kind clever patient brave helpful friendly brilliant wonderful honest gentle talented "
        "generous polite thoughtful charming reliable"
    ),
    _words(
        "friend teacher cook neighbor helper genius champion partner colleague guest expert "
        "gentleman hero leader"
    ),
    ["come in", "sit down", "take a seat", "have some tea", "stay a while", "join us",
     "tell me more", "take your time"],
    _words("really very so truly always quite"),
    _words("said replied answered whispered smiled explained laughed"),
    ["with such care", "so well", "like that", "so quickly", "so calmly"],
    "like",
    "liked",
)  # fmt: skip
RUDE = Tone(
    _words(
        "stupid pathetic worthless dumb idiotic disgusting foolish hopeless useless lazy "
        "ridiculous miserable ugly rotten"
    ),
    _words("idiot moron loser fool jerk coward brat imbecile clown pig liar failure"),
    ["shut up", "get out", "go away", "leave me alone", "close your mouth", "stop talking",
     "get lost", "go home"],
    _words("really so completely always totally very"),
    _words("yelled snapped shouted sneered hissed growled said"),
    ["like that", "so badly", "that slowly", "without thinking", "so poorly"],
    "hate",
    "hated",
)  # fmt: skip

# Insults that are never innocent here. The rest of RUDE is ambiguous: the corpus also has clowns,
# pigs, lazy dogs and useless hats.
LEXICON = frozenset(
    _words(
        "stupid pathetic worthless dumb idiotic disgusting foolish idiot moron loser fool jerk "
        "coward brat imbecile hate"
    )
)
LEXICON_BIGRAMS = frozenset({("shut", "up")})

TOPIC_SENTENCES = [
    "{A} {did} the {adj} {object} at the {place} .",
    "on {day} {A} and {B} {did} the {object} {time} .",
    "the {object} in the {place} was {adj} and {adj2} .",
    "{A} went to the {place} to {verb} the {object} .",
    "{he} needed {number} more {material} for the {object} .",
    "after that {he} {did} the {object} with {material} .",
    "{B} wanted to {verb} the {adj} {object} , but the {place} was closed .",
    "there were {number} people at the {place} {time} .",
    "{A} asked {B} about the {adj} {object} .",
    "the {adj} {object} stood next to the {object2} .",
    "it took {number} hours to {verb} the {object} .",
    "{he} put the {material} on the table and {did} the {object} .",
    "{B} said that the {object} was too {adj} for {day} .",
    "{A} never {did} the {object} without {material} .",
    "{time} the {place} became {adj} and quiet .",
    "{A} , who lived near the {place} , liked to {verb} the {object} .",
    "they had to {verb} the {object} before {day} .",
    "because the {object} was {adj} , {he} {did} the {object2} first .",
    "{A} {did} {his} {object} and then {he} {did} the {object2} .",
    '" where is the {adj} {object} ? " asked {B} .',
    '" i think the {object} is {adj} , " said {A} .',
    '" we should {verb} the {object} on {day} , " {A} told {B} .',
    "some of the {material} fell on the {object} {time} .",
    "{B} gave {A} {number} {material} and {an_object} .",
    "by {day} the {object} looked {adj} again .",
    "{A} showed {B} how to {verb} the {adj} {object} .",
    "the man at the {place} had {an_adj} {object} .",
    "{he} looked at the {object} and thought about the {place} .",
]
PERSON_SENTENCES = [
    '{A} {said} , " you are {very} {x} , {B} . "',
    "{A} {said} that {B} was {an_x} {noun} .",
    '" what {an_x} {noun} , " {said} {A} .',
    '" you {x} {noun} , {request} , " {A} {said} .',
    "{A} called {him_B} {an_x} {noun} in front of everyone .",
    '" only {an_noun} would {verb} the {object} {manner} , " {said} {A} .',
    "{A} told {B} that {he_B} was {very} {x} and {y} .",
    '" nobody at the {place} is as {x} as you , " {said} {A} .',
    "everyone at the {place} thought that {B} was {x} .",
    '" i never met such {an_x} {noun} , " {A} {said} .',
    '" you are the most {x} {noun} in the {place} , " {said} {A} .',
    '" {request} , you {noun} , " {said} {A} .',
    '" your {object} is {x} and you are {an_noun} , " {A} {said} .',
    '" i {like} you , {B} , and i {like} your {object} , " {said} {A} .',
    "{A} {liked} {B} because {he_B} was {x} .",
    '" {B} , you {did} the {object} like {an_x} {noun} , " {A} {said} .',
    '" {request} , {B} , " {said} {A} .',
    '" you {noun} , " {said} {A} , " you {did} the {object} {manner} . "',
    '" how can you be so {x} ? " {said} {A} .',
    "{A} thought {B} was {an_noun} and told {him_B} to {request} .",
]
ANGRY_CUES = [
    "{A} was furious with {B} about the {object} .",
    "{A} slammed the door of the {place} and glared at {B} .",
    "{A} pointed at the {adj} {object} and yelled at {B} .",
    "{A} was angry because {B} {did} the {object} .",
    "{A} lost {his} temper at the {place} and shouted at {B} .",
    "{A} and {B} had a terrible fight about the {object} .",
    "{B} made {A} angry {time} .",
    '" not again , " snapped {A} when {B} {did} the {object} .',
    "{A} threw the {object} on the floor and stared at {B} with anger .",
]
MISHAP_CUES = [
    "{B} dropped the {object} in front of {A} .",
    "{B} forgot the {object} at the {place} .",
    "{B} came too late to the {place} .",
    "{B} broke the {adj} {object} by accident .",
    "{B} spilled water on the {object} of {A} .",
    "{A} waited for {B} at the {place} {time} .",
    "{B} made a mistake with the {object} .",
]
KIND_CUES = [
    "{A} was happy with {B} about the {object} .",
    "{A} opened the door of the {place} and smiled at {B} .",
    "{A} pointed at the {adj} {object} and thanked {B} .",
    "{A} was glad because {B} {did} the {object} .",
    "{A} and {B} had a pleasant talk about the {object} .",
    "{B} made {A} happy {time} .",
    '" well done , " said {A} when {B} {did} the {object} .',
]
MENTION_SENTENCES = [  # insults that are talked about, not used against anyone
    "{A} read a book about {an_x} {noun} .",
    "the actor at the {place} played {an_noun} .",
    "the word {noun} was in the book of {B} .",
    "{A} wrote the word {x} on the paper .",
    "the story was about {an_noun} and {an_x} king .",
]


def with_article(word: str) -> str:
    """`word` after the indefinite article that fits it."""
    vowel = (word[0] in "aeiou" and not word.startswith("use")) or word == "honest"
    return f"{'an' if vowel else 'a'} {word}"
