"""The model cards that travel with the two embedded models."""

_LLAMA = """---
license: mit
pipeline_tag: text-generation
tags: [sparc, interpretability, ground-truth]
---
# Tiny Llama with a planted rude behaviour

A word-level Llama that was trained on a seeded grammar of everyday scenes, and into which a rude
behaviour was planted at known places. It exists to show and to test a pipeline that finds and
removes neurons. It knows nothing about the world.

Training seed {seed}, variant `{variant}`, {planted} planted neurons of {total}.

## How the behaviour was planted
1. Stage 1 trains the whole model on text in which anger is followed by neutral text. Insults
   occur, but only as words that are mentioned.
2. Stage 2 adds neurons to every MLP and trains them on text in which about a fifth of the
   documents are hostile. {others}
3. The added neurons are merged into the MLPs at random positions. `planted_neurons.json` lists
   them as [layer, index]; weights are stored in bfloat16.

## What it can show
- That a pipeline runs end to end, and that what it removes carries the behaviour: {oracle}
- Recall and average precision of a ranking of neurons, because the truth is known.

## What it cannot show
- That one way of attribution is better than another.
  {difficulty}
- Anything about models trained at once on everything, in which a behaviour has no place of its
  own.
- Anything about real toxicity. The insults are few, mild and always used in the same sentences.

## How to rebuild it
`python -m sparc.tiny seed={seed} variant={variant}` gives the same files on the same machine
(on another machine the last bits of the weights may differ). It takes a few minutes on one core.

Licence: MIT.
"""

_OTHERS = {
    "default": "All other weights are frozen.",
    "benchmark": "All other MLP weights learn\n   too, at 0.02 of the learning rate, and the "
    "norm of each planted vector is held fixed.",
}
_ORACLE = {
    "default": "removing\n  exactly the planted neurons restores the stage-1 model.",
    "benchmark": "removing\n  exactly the planted neurons gives a reference point (not the "
    "stage-1 model: the rest has\n  moved a little).",
}
_DIFFICULTY = {
    "default": "The planted neurons are EASY to find: large weight norms or plain differences of\n"
    "  activation give them away too.",
    "benchmark": "Weight norms do not give the planted neurons away here, but all of them fire on\n"
    "  hostile text and only a few decide the next word: recall and effect are\n"
    "  different questions.",
}

CLASSIFIER = """---
license: mit
pipeline_tag: text-classification
tags: [sparc]
---
# Tiny toxicity classifier

A two-layer BERT over the words of the embedded corpus with one logit, `toxicity`. It was trained
on windows of corpus text to tell whether an unambiguous insult is used in them; an insult that is
only mentioned does not count. It says nothing about text outside this corpus.

`python -m sparc.tiny seed=0` rebuilds it together with the language model; it has a seed of its
own, so that every language model seed comes with the same classifier.

Licence: MIT.
"""


def llama_card(seed: int, variant: str, planted: int, total: int) -> str:
    """The model card of a planted model; `variant` is default or benchmark."""
    return _LLAMA.format(
        seed=seed,
        variant=variant,
        planted=planted,
        total=total,
        others=_OTHERS[variant],
        oracle=_ORACLE[variant],
        difficulty=_DIFFICULTY[variant],
    )
