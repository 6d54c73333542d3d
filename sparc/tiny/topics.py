"""The topics of the embedded corpus: places, things and what is done with them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """The words of one topic; `verbs` holds (infinitive, past) pairs."""

    places: list[str]
    objects: list[str]
    adjectives: list[str]
    verbs: list[tuple[str, str]]
    materials: list[str]


def _topic(places: str, objects: str, adjectives: str, verbs: str, materials: str) -> Topic:
    pairs = [verb.split(":") for verb in verbs.split()]
    return Topic(
        places.split(),
        objects.split(),
        adjectives.split(),
        [(infinitive, past) for infinitive, past in pairs],
        materials.split(),
    )


TOPICS = {
    "cooking": _topic(
        "kitchen restaurant cafe bakery canteen",
        "soup bread cake stew salad sauce pie pasta dinner omelette pudding rice",
        "warm salty fresh sweet spicy burnt tasty cold creamy bitter",
        "cook:cooked serve:served taste:tasted bake:baked stir:stirred burn:burned heat:heated",
        "flour butter salt pepper garlic sugar",
    ),
    "garden": _topic(
        "garden greenhouse park yard orchard",
        "roses hedge tomatoes lawn tree flowers bushes carrots pond fence apples tulips",
        "green tall muddy blooming dry wild ripe overgrown leafy shady",
        "water:watered plant:planted trim:trimmed pick:picked dig:dug rake:raked",
        "soil seeds mulch compost twigs gravel",
    ),
    "travel": _topic(
        "station airport hotel harbor platform",
        "ticket suitcase train map passport bus ferry tent luggage timetable backpack bicycle",
        "late crowded heavy foreign cheap distant slow early scenic lost",
        "pack:packed book:booked carry:carried miss:missed board:boarded lose:lost",
        "coins labels stamps straps tags wheels",
    ),
    "school": _topic(
        "classroom library college lecture laboratory",
        "essay exam book homework lesson notebook project poem test chapter diagram report",
        "difficult long simple careful short clear hard boring new advanced",
        "write:wrote study:studied explain:explained finish:finished read:read copy:copied",
        "chalk paper ink pencils glue cards",
    ),
    "weather": _topic(
        "village valley coast hill field",
        "storm rain snow wind fog cloud sunrise frost umbrella roof window coat",
        "grey stormy sunny wet mild icy foggy bright windy chilly",
        "watch:watched notice:noticed photograph:photographed fear:feared enjoy:enjoyed",
        "mist hail puddles sleet drizzle thunder",
    ),
    "sport": _topic(
        "stadium gym pool court track",
        "match race ball goal game team medal bat training jersey final score",
        "fast close exciting tough fair quick final strong noisy tiring",
        "win:won play:played lose:lost practice:practiced kick:kicked throw:threw",
        "towels nets gloves cones ropes helmets",
    ),
    "music": _topic(
        "concert theater studio hall stage",
        "piano song guitar violin drum choir melody show tune record trumpet dance",
        "loud soft lively famous slow gentle modern sad rhythmic classical",
        "play:played tune:tuned record:recorded practice:practiced hear:heard",
        "strings cables speakers lamps scores curtains",
    ),
    "work": _topic(
        "office factory meeting warehouse workshop",
        "letter computer printer contract desk budget machine plan invoice phone email schedule",
        "urgent busy broken important expensive monthly digital official complex missing",
        "send:sent sign:signed repair:repaired check:checked print:printed order:ordered",
        "folders screws staples boxes pens wires",
    ),
    "pets": _topic(
        "farm stable shelter barn zoo",
        "dog cat rabbit horse parrot pig cow kitten goat puppy hamster donkey",
        "small hungry fluffy old playful sleepy lazy spotted loyal timid",
        "feed:fed brush:brushed wash:washed find:found train:trained walk:walked",
        "hay grain straw bones carrots milk",
    ),
    "shopping": _topic(
        "market shop mall store bazaar",
        "dress shoes basket hat jacket watch lamp bag carpet gift scarf ring",
        "cheap blue pretty red expensive silk plain woolen shiny useless",
        "buy:bought sell:sold choose:chose return:returned wrap:wrapped compare:compared",
        "buttons beads ribbons zippers leather cotton",
    ),
    "health": _topic(
        "hospital clinic pharmacy ward surgery",
        "medicine bandage pill needle bed crutch chair blanket bottle form mask prescription",
        "clean painful sore healthy tired swollen weak sterile pale calm",
        "check:checked bring:brought prepare:prepared clean:cleaned hold:held open:opened",
        "cotton gauze soap vitamins syrup tape",
    ),
    "house": _topic(
        "house bathroom attic basement garage",
        "door wall sink table trash heater stairs mirror shelf curtain ceiling sofa",
        "wooden dirty empty dusty leaking painted narrow cracked comfortable dark",
        "paint:painted fix:fixed sweep:swept move:moved build:built scrub:scrubbed",
        "nails bricks paint boards tiles cement",
    ),
    "circus": _topic(
        "circus fair tent carnival parade",
        "clown lion rope balloon magician elephant costume drum crown acrobat wagon mask",
        "colorful funny giant silly striped ridiculous famous golden noisy cheerful",
        "watch:watched follow:followed clap:clapped draw:drew chase:chased admire:admired",
        "popcorn feathers ribbons sawdust candy sparks",
    ),
    "science": _topic(
        "observatory museum university laboratory institute",
        "telescope star planet experiment robot engine crystal magnet fossil rocket microscope "
        "battery",
        "distant ancient tiny hot magnetic rare failed heavy precise strange",
        "study:studied test:tested observe:observed design:designed measure:measured break:broke",
        "metal glass copper acid lenses samples",
    ),
}
