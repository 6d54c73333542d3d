"""What readers of saved runs rely on, as plain data, and what checks it.

A schema is a type (`float` takes whole numbers, too; `bool` is neither), `(schema,)` for that or
null, `[schema]` for a list, a mapping of names to schemas, or a function that does the checking. In
a mapping a name that ends in `?` need not be there, `str` stands for every name that is not listed,
and names that are neither are free: later versions add some.
"""

import re
from collections.abc import Mapping
from typing import Any

_LARGEST = 1e305  # a number's percentage, and the distance of two, are finite, too
_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def fault(value: Any, schema: Any, where: str) -> str | None:
    """What keeps `value`, which stands at `where`, from being of `schema`; None for nothing."""
    if isinstance(schema, tuple):
        return None if value is None else fault(value, schema[0], where)
    if isinstance(schema, list):
        if type(value) is not list:
            return f"{where} must be a list"
        told = (fault(each, schema[0], f"{where}[{i}]") for i, each in enumerate(value))
        return next(filter(None, told), None)
    if isinstance(schema, Mapping):
        return _mapping_fault(value, schema, where)
    if not isinstance(schema, type):
        found: str | None = schema(value, where)
        return found
    fits = type(value) is schema
    if schema is float:
        fits = type(value) in (int, float) and abs(value) <= _LARGEST
    return None if fits else f"{where} must be {_NAMES[schema]}"


def _mapping_fault(value: Any, schema: Mapping[Any, Any], where: str) -> str | None:
    if type(value) is not dict:
        return f"{where} must be a mapping"
    listed = {name.rstrip("?"): part for name, part in schema.items() if name is not str}
    for name in schema:
        if name is not str and not name.endswith("?") and name not in value:
            return f"{where} lacks {name}"
    for name, each in value.items():
        part = listed.get(name, schema.get(str))
        if part is not None and (told := fault(each, part, f"{where}.{name[:40]}")):
            return told
    return None


def _status(value: Any, where: str) -> str | None:
    told = ("ok", "failed", "interrupted")
    return None if value in told else f"{where} must be {', '.join(told)}"


def _count(value: Any, where: str) -> str | None:
    return None if type(value) is int and value >= 0 else f"{where} must be a whole number from 0"


def _interval(value: Any, where: str) -> str | None:
    told = fault(value, [float], where)
    return told or (None if len(value) == 2 else f"{where} must be two numbers")


def _metric(value: Any, where: str) -> str | None:
    fits = type(value) is str and re.fullmatch(r"(toxicity|repetition|perplexity)\.\w+", value)
    return None if fits else f"{where} must be a metric such as toxicity.rate"


def _amount(value: Any, where: str) -> str | None:
    return None if type(value) in (int, str) else f"{where} must be a whole number or a text"


def _positive(value: Any, where: str) -> str | None:
    return fault(value, float, where) or (None if value > 0 else f"{where} must be above 0")


def _some(part: Any) -> Any:
    def check(value: Any, where: str) -> str | None:
        return fault(value, [part], where) or (None if value else f"{where} must not be empty")

    return check


def _tree(leaf: Mapping[str, Any], mark: str) -> Any:
    """Mappings of any depth down to leaves, which are what has `mark`; null where none is."""

    def below(value: Any, where: str) -> str | None:
        is_leaf = type(value) is dict and type(value.get(mark, {})) is not dict
        return fault(value, leaf if is_leaf else {str: (below,)}, where)

    metrics = {str: (leaf,)}
    arm = {"toxicity?": (metrics,), "repetition?": (metrics,), "empty?": (metrics,), str: (below,)}
    return {
        **arm,
        "perplexity?": (metrics,),
        "by_category?": ({str: (arm,)},),
        "scorers?": ({str: (arm,)},),
        "lm_eval?": ({str: (metrics,)},),
    }


_VALUE = {"value": (float,), "tokens?": _count, "convention?": str}
_CHANGE = {"absolute": (float,), "relative": (float,), "ci95": (_interval,), "p_value": (float,)}
VALUES, CHANGES = _tree(_VALUE, "value"), _tree(_CHANGE, "absolute")
_CONTROL = {
    "random": ({"draws": _count, "change": CHANGES, "difference?": (CHANGES,)},),
    "oracle": ({"change": CHANGES},),
}
_SET = {
    "set": str,
    "seed": int,
    "samples": _count,
    "per_sample": float,
    "min": float,
    "max": float,
}
_COUNTS = ({str: ({str: _count},)},)
RESULTS = {
    "status": _status,
    "reason?": (str,),
    "verdict?": str,
    "run?": {
        "name?": (str,),
        "seed?": (int,),
        "config_hash?": (str,),
        "started?": str,
        "seconds?": float,
        "device?": (str,),
        "gpus?": [str],
        "node?": str,
        "job_id?": (str,),
        "versions?": {str: (str,)},
        "git_revision?": (str,),
    },
    "model?": {
        "name?": str,
        "source?": str,
        "fingerprint?": (str,),
        "parameters?": _count,
        "neurons?": _count,
    },
    "selection?": (
        {
            "method": str,
            "granularity?": str,
            "num_pruned": _count,
            "fraction?": float,
            "per_layer?": _some(_count),
            "source?": {"method?": str},
        },
    ),
    "score_report?": {
        "sets": [_SET],
        "variation_over_seeds": {str: (float,)},
        "seed_overlap": (float,),
        "warnings": [str],
    },
    "localisation?": (
        {"recall": float, "average_precision": float, "known_neurons?": _count, "chance?": float},
    ),
    "evaluation?": {
        "in_sample": bool,
        "split?": str,
        "threshold": float,
        "scorers": _some(str),
        "primary_metric": _metric,
        "k": _count,
        "n_prompts": _count,
        "smallest_detectable?": (float,),
        "failed_completions?": _COUNTS,
    },
    "baseline?": VALUES,
    "pruned?": VALUES,
    "change?": (CHANGES,),
    "control?": _CONTROL,
    "curve?": (
        [{"num_neurons": _count, "pruned": VALUES, "change": CHANGES, "control": _CONTROL}],
    ),
    "stages?": [
        {"name": str, "seconds": (float,), "cached?": bool, "peak_memory_bytes?": (float,)}
    ],
}

_CONTEXT = {"before": str, "token": str, "relevance": float}


def _scores(value: Any, where: str) -> str | None:
    """A card's scores: some, and in every seed one of either set."""
    if told := fault(value, _some({"set": str, "seed": int, "score": float}), where):
        return told
    sets = [{e["seed"] for e in value if e["set"] == name} for name in ("general", "undesired")]
    return None if sets[0] == sets[1] else f"{where} must have both sets in every seed"


_CARD = {
    "scores": _scores,
    "undesired": [_CONTEXT],
    "general": [_CONTEXT],
    "promoted": [str],
    "suppressed": [str],
}
NEURON = {"layer": _count, "index": _count, "score?": (float,), "card?": _CARD}
REFERENCE = {"set": str, "seed": int, "text": str, "token_ids": [_count]}
_COMPLETION = {
    "arm": str,
    "draw?": (int,),
    "category": str,
    "prompt": str,
    "sample": _count,
    "completion": str,
    "score": (float,),
}


def _completion(value: Any, where: str) -> str | None:
    """A completion: one of the random arm says of which draw."""
    told = fault(value, _COMPLETION, where)
    if told is None and value["arm"] == "random":
        told = fault(value, {"draw": int}, where)
    return told


COMPLETION = _completion
_TOKENS = {
    "set": str,
    "seed": int,
    "position": _count,
    "cut": bool,
    "tokens": [str],
    "next_token": str,
    "inputs": [float],
    "removed": [float],
}


def _text(value: Any, where: str) -> str | None:
    """A text of explanations.json: as many relevances of either kind as tokens."""
    if told := fault(value, _TOKENS, where):
        return told
    sizes = {len(value[name]) for name in ("tokens", "inputs", "removed")}
    return None if len(sizes) == 1 else f"{where} must have two relevances a token"


EXPLANATIONS = {
    "contrast?": {
        "edges": _some(float),
        "counts": [_count],
        "cut": float,
        "unit": _positive,
    },
    "texts?": [_text],
}


def _set(part: Any) -> Any:
    """A setting: `part`, or an interpolation, which stays unresolved."""

    def check(value: Any, where: str) -> str | None:
        return None if type(value) is str and "${" in value else fault(value, part, where)

    return check


_NAMED = {"name?": (str,)}
_SAMPLING = {
    "max_new_tokens": _set(int),
    "temperature": _set(float),
    "top_p": _set(float),
}
CONFIG = {
    "seed?": _set(int),
    "name?": (str,),
    "stage?": str,
    "model?": _NAMED,
    "dataset?": {**_NAMED, "undesired_category?": (str,), "neutral_category?": (str,)},
    "attribution?": {
        **_NAMED,
        "target?": {"kind?": str},
        "reduction?": str,
        "rules?": (str,),
    },
    "pruning?": {
        "method?": (str,),
        "num_neurons?": _set(int),
        "layers?": (_set([_count]),),
    },
    "evaluation?": {
        "split?": str,
        "in_sample?": _set(bool),
        "budget?": {str: _set(float)},
        "sampling?": _SAMPLING,
    },
}
HYDRA = {
    "hydra?": {
        "mode?": (str,),
        "sweep?": {"dir": str},
        "overrides?": {"task?": [str]},
        "runtime?": {"choices?": {}},
    }
}
SWEEP = {
    "arguments": [str],
    "jobs": [
        {
            "overrides": [str],
            "config_hash?": (str,),
            "stated": {
                "model?": (str,),
                "dataset?": (str,),
                "attribution?": (str,),
                "num_neurons?": (_amount,),
                "seed?": (_amount,),
            },
        }
    ],
}
SUBMITTED = [{"cluster": str, "id": str, "overrides": [str]}]
