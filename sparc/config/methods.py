"""Which options each attribution method uses, and which do not go together.

No torch here, so that the configuration can be checked before anything heavy is imported.
"""

import ast
import functools
from collections.abc import Iterator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sparc.config import AttributionConfig, Config
from sparc.storage.digests import file_digest

_GRADIENT = ("target", "reduction", "projection")
ALL_OPTIONS = ("rules", *_GRADIENT, "steps", "seed")
# Which of them change the scores of which method; a method of another name uses all of them.
METHOD_OPTIONS = {
    "lrp": ("rules", *_GRADIENT),
    "gradient": _GRADIENT,
    "integrated_gradients": (*_GRADIENT, "steps"),
    "activation": (),
    "wanda": ("projection",),
    "magnitude": ("projection",),
    "random": ("seed",),
}
TARGETS = {name: f"sparc.attribution.{name}.{name}" for name in METHOD_OPTIONS}
DATA_FREE = ("magnitude", "random")
FORWARD_ONLY = ("activation", "wanda")


def method_options(config: AttributionConfig) -> dict[str, Any]:
    """The options that change the method's scores, as plain JSON-able data."""
    values = asdict(config)
    return {name: values[name] for name in METHOD_OPTIONS.get(config.name, ALL_OPTIONS)}


@functools.cache
def source_digest(target: str) -> str | None:
    """A hash of the file that an own method's `target` is written in; None for a packaged one.

    Asked once a process, which also imports the file once. What that file imports is not part of
    it; packaged methods have `FORMULA_VERSION`.
    """
    return None if target in TARGETS.values() else file_digest(_source(target))


def target_complaints(key: str, target: str) -> Iterator[str]:
    """Why the function `target` cannot be called for the configuration's `key`.

    The function's file is read, not imported; only packages around it are.
    """
    try:
        tree = ast.parse(_source(target).read_bytes())
    except Exception as error:  # whatever a name that is none, or a broken file brings about
        yield (
            f"{key}={target}: cannot be found ({type(error).__name__}: {error}); give "
            "module.function of a Python file that can be imported"
        )
        return
    name = target.rpartition(".")[2]
    if name not in _defined(tree):
        yield f"{key}={target}: its file defines no '{name}'"


def _source(target: str) -> Path:
    module = target.rpartition(".")[0]
    spec = find_spec(module)
    if spec is None or not spec.has_location or not str(spec.origin).endswith(".py"):
        raise ImportError(f"no Python file of module '{module}'")
    return Path(str(spec.origin))


def _defined(tree: ast.Module) -> Iterator[str]:
    """Names of a module's functions and classes, and of what it imports or assigns by name."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.ImportFrom):
            yield from (each.asname or each.name for each in node.names)
        elif isinstance(node, ast.Assign):
            yield from (each.id for each in node.targets if isinstance(each, ast.Name))


def _method_complaints(attribution: AttributionConfig) -> Iterator[str]:
    """A packaged name goes with its own target, and an own method has a name of its own."""
    name, target = attribution.name, attribution._target_
    if target == TARGETS.get(name):
        return
    if name in TARGETS:
        yield (
            f"attribution._target_={target}: attribution={name} is {TARGETS[name]}; give a "
            "method of your own a name of its own, attribution.name="
        )
    for packaged, its in TARGETS.items():
        if target == its:
            yield f"attribution.name={name}: {target} is attribution={packaged}; choose that"
    yield from target_complaints("attribution._target_", target)


def attribution_complaints(config: Config) -> Iterator[str]:
    """What cannot be in `config.attribution`, one line each."""
    attribution, target = config.attribution, config.attribution.target
    yield from _method_complaints(attribution)
    yield from _unused_options(attribution)
    if attribution.name in ("wanda", "magnitude") and attribution.projection == "hidden":
        yield (
            f"attribution.projection=hidden with attribution={attribution.name}: a hidden neuron "
            "has no weights; use attribution.projection=up or down"
        )
    if attribution.name == "integrated_gradients" and attribution.reduction == "abs_weight":
        yield (
            "attribution.reduction=abs_weight with attribution=integrated_gradients: the path is "
            "not kept weight by weight; use reduction=signed or abs_sample"
        )
    if attribution.projection == "hidden" and attribution.reduction == "abs_weight":
        yield (
            "attribution.reduction=abs_weight with attribution.projection=hidden: a hidden neuron "
            "has no weights; use projection=down or reduction=abs_sample"
        )
    needed = {"argmax": "none", "difference": "exactly two"}.get(target.kind, "at least one")
    count = len(target.token_ids)
    fits = {"none": count == 0, "exactly two": count == 2, "at least one": count >= 1}[needed]
    if any(token < 0 for token in target.token_ids):
        yield f"attribution.target.token_ids={target.token_ids}: must not hold negative numbers"
    if not fits:
        yield (
            f"attribution.target.token_ids={target.token_ids} with kind={target.kind}: "
            f"give {needed}"
        )
    yield from _shard(config)


def _unused_options(attribution: AttributionConfig) -> Iterator[str]:
    used = METHOD_OPTIONS.get(attribution.name, ALL_OPTIONS)
    given, defaults = asdict(attribution), asdict(AttributionConfig())
    for name in ALL_OPTIONS:
        if name not in used and given[name] != defaults[name]:
            yield f"attribution.{name}: not used by attribution={attribution.name}; leave it out"


def _shard(config: Config) -> Iterator[str]:
    attribution = config.attribution
    if attribution.shard is not None:
        if attribution.name in DATA_FREE:
            yield f"attribution.shard: attribution={attribution.name} reads no samples to share"
        if not 0 <= attribution.shard < attribution.shards:
            yield (
                f"attribution.shard={attribution.shard}: must lie between 0 and "
                f"attribution.shards - 1 = {attribution.shards - 1}"
            )
        if config.stage != "attribute":
            yield "attribution.shard: computes only a part of the scores; add stage=attribute"
