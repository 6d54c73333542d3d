"""What readers of saved runs rely on, as plain data, and what checks it.

A schema is a type (`float` takes whole numbers, too; `bool` is neither), `(schema,)` for that or
null, `[schema]` for a list, a mapping of names to schemas, or a function that does the checking. In
a mapping a name that ends in `?` need not be there, `str` stands for every name that is not listed,
and names that are neither are free: later versions add some.
"""

import re
from collections.abc import Callable, Mapping
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


def _must(told: str, fits: Callable[[Any], object], schema: Any = None) -> Any:
    """Of `schema`, if one is given, and such that it `fits`."""

    def check(value: Any, where: str) -> str | None:
        found = None if schema is None else fault(value, schema, where)
        return found or (None if fits(value) else f"{where} must {told}")

    return check


def _some(schema: Any) -> Any:
    return _must("not be empty", bool, [schema])


def _each(names: str, schema: Any) -> dict[Any, Any]:
    """A mapping in which all of `names` are of one schema."""
    return dict.fromkeys(names.split(), schema)


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


_METRIC = re.compile(r"(toxicity|repetition|perplexity)\.\w+")
_status = _must("be ok, failed, interrupted", lambda v: v in ("ok", "failed", "interrupted"))
_count = _must("be a whole number from 0", lambda v: type(v) is int and v >= 0)
_amount = _must("be a whole number or a text", lambda v: type(v) in (int, str))
_metric = _must(
    "be a metric such as toxicity.rate", lambda v: type(v) is str and _METRIC.fullmatch(v)
)
_interval = _must("be two numbers", lambda v: len(v) == 2, [float])

_VALUE = {"value": (float,), "tokens?": _count, "convention?": str}
_CHANGE = {**_each("absolute relative", (float,)), "ci95": (_interval,), "p_value": (float,)}
_VALUES, _CHANGES = _tree(_VALUE, "value"), _tree(_CHANGE, "absolute")
_CONTROL = {
    "random": ({"draws": _count, "change": _CHANGES, "difference?": (_CHANGES,)},),
    "oracle": ({"change": _CHANGES},),
}
_POINT = {"num_neurons": _count, "pruned": _VALUES, "change": _CHANGES, "control": _CONTROL}
RESULTS = {
    "status": _status,
    "reason?": (str,),
    "verdict?": str,
    "run?": {
        **_each("name? config_hash? device? node? job_id? git_revision?", (str,)),
        "seed?": (int,),
        "started?": str,
        "seconds?": float,
        "gpus?": [str],
        "versions?": {str: (str,)},
    },
    "model?": {
        **_each("name? source?", str),
        "fingerprint?": (str,),
        **_each("parameters? neurons?", _count),
    },
    "selection?": (
        {
            **_each("method granularity?", str),
            "num_pruned": _count,
            "fraction?": float,
            "per_layer?": _some(_count),
            "source?": {"method?": str},
        },
    ),
    "score_report?": {
        "sets": [
            {"set": str, "seed": int, "samples": _count, **_each("per_sample min max", float)}
        ],
        "variation_over_seeds": {str: (float,)},
        "seed_overlap": (float,),
        "warnings": [str],
    },
    "localisation?": (
        {**_each("recall average_precision chance?", float), "known_neurons?": _count},
    ),
    "evaluation?": {
        "in_sample": bool,
        "split?": str,
        "threshold": float,
        "scorers": _some(str),
        "primary_metric": _metric,
        **_each("k n_prompts", _count),
        "smallest_detectable?": (float,),
        "failed_completions?": ({str: ({str: _count},)},),
    },
    **_each("baseline? pruned?", _VALUES),
    "change?": (_CHANGES,),
    "control?": _CONTROL,
    "curve?": ([_POINT],),
    "stages?": [{"name": str, **_each("seconds peak_memory_bytes?", (float,)), "cached?": bool}],
}


def _both_sets_in_every_seed(scores: Any) -> bool:
    seeds = [{e["seed"] for e in scores if e["set"] == name} for name in ("general", "undesired")]
    return seeds[0] == seeds[1]


_SCORE = {"set": str, "seed": int, "score": float}
_CARD = {
    "scores": _must("have both sets in every seed", _both_sets_in_every_seed, _some(_SCORE)),
    **_each("undesired general", [{**_each("before token", str), "relevance": float}]),
    **_each("promoted suppressed", [str]),
}
NEURON = {**_each("layer index", _count), "score?": (float,), "card?": _CARD}
REFERENCE = {"set": str, "seed": int, "text": str, "token_ids": [_count]}
_COMPLETION = {
    **_each("arm category prompt", str),
    "draw?": (int,),
    "sample": _count,
    "completion": str,
    "score": (float,),
}


def _completion(value: Any, where: str) -> str | None:
    """A completion; one of the random arm says of which draw."""
    told = fault(value, _COMPLETION, where)
    of_draw = told is None and value["arm"] == "random"
    return fault(value, {"draw": int}, where) if of_draw else told


COMPLETION = _completion
_TEXT = {
    "set": str,
    "seed": int,
    "position": _count,
    "cut": bool,
    "tokens": [str],
    "next_token": str,
    **_each("inputs removed", [float]),
}


def _two_relevances_a_token(text: Any) -> bool:
    return len(text["tokens"]) == len(text["inputs"]) == len(text["removed"])


EXPLANATIONS = {
    "contrast?": {
        "edges": _some(float),
        "counts": [_count],
        "cut": float,
        "unit": _must("be above 0", lambda v: v > 0, float),
    },
    "texts?": [_must("have two relevances a token", _two_relevances_a_token, _TEXT)],
}


def _set(schema: Any) -> Any:
    """A setting: of `schema`, or an interpolation, which stays unresolved."""

    def check(value: Any, where: str) -> str | None:
        return None if type(value) is str and "${" in value else fault(value, schema, where)

    return check


_NAMED = {"name?": (str,)}
CONFIG = {
    "seed?": _set(int),
    **_NAMED,
    "stage?": str,
    "model?": _NAMED,
    "dataset?": _each("name? undesired_category? neutral_category?", (str,)),
    "attribution?": {**_each("name? rules?", (str,)), "target?": {"kind?": str}, "reduction?": str},
    "pruning?": {"method?": (str,), "num_neurons?": _set(int), "layers?": (_set([_count]),)},
    "evaluation?": {
        "split?": str,
        "in_sample?": _set(bool),
        "budget?": {str: _set(float)},
        "sampling?": {"max_new_tokens": _set(int), **_each("temperature top_p", _set(float))},
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
_STATED = {
    **_each("model? dataset? attribution?", (str,)),
    **_each("num_neurons? seed?", (_amount,)),
}
SWEEP = {
    "arguments": [str],
    "jobs": [{"overrides": [str], "config_hash?": (str,), "stated": _STATED}],
}
SUBMITTED = [{**_each("cluster id", str), "overrides": [str]}]
