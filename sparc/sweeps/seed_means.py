"""The points of a sweep: what was measured at one setting and amount, as means over the seeds."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from sparc.config import NOT_CONTENT, BudgetConfig, DatasetConfig, EvaluationConfig
from sparc.evaluation.verdict import Findings, findings, verdict
from sparc.runs.tree import leaf, merged
from sparc.storage.digests import digest
from sparc.sweeps.combining import combined_changes, combined_value, mean
from sparc.sweeps.jobs import Job
from sparc.sweeps.table import attribution_of, method_names

_Tree = Mapping[str, Any]
_TREES = ("baseline", "pruned", "change", "random", "difference", "oracle")
_SHOWN = ("toxicity", "perplexity", "repetition")  # of a point's trees, in sweep.json
_VARIED = {  # what points of one setting, or jobs of one point, differ in
    "pruning": ("num_neurons", "curve", "save_model"),
    "evaluation": ("split", "in_sample"),
}


@dataclass(frozen=True)
class Point:
    """Everything that jobs which differ only in their seed found, as means over the seeds."""

    setting: str
    """A hash of all settings but amount, seed and split."""
    model: str
    dataset: str
    method: str
    """What the sweep varies, in words."""
    attribution: str
    num_neurons: int
    split: str
    in_sample: bool
    seeds: tuple[int, ...]
    jobs: tuple[str, ...]
    primary: tuple[str, ...]
    """Path of the metric that decides."""
    baseline: _Tree
    """Values, as `pruned`."""
    pruned: _Tree
    change: _Tree
    """Changes against the baseline, as `random`, `difference` and `oracle`."""
    random_draws: int
    random: _Tree | None
    """None without that control."""
    difference: _Tree | None
    """selected - random"""
    oracle: _Tree | None
    effect: str
    beats_random: bool | None
    damage: tuple[str, ...]
    verdict: str
    budget: float
    """Rise of general perplexity that is accepted."""

    def as_json(self) -> dict[str, Any]:
        """The point for sweep.json: its trees without categories, further scorers and tasks."""
        named = asdict(self)
        for name in _TREES:
            tree = named[name]
            named[name] = None if tree is None else {key: tree.get(key) for key in _SHOWN}
        names = ("random_draws", "random", "difference", "oracle")
        draws, random, difference, oracle = (named.pop(name) for name in names)
        control = {
            "random": random and {"draws": draws, "change": random, "difference": difference},
            "oracle": oracle and {"change": oracle},
        }
        return {**named, "primary": ".".join(self.primary), "control": control}


@dataclass(frozen=True)
class _Measured:
    """One amount of one job: its own, or an entry of its curve."""

    job: Job
    setting: str
    num_neurons: int
    trees: _Tree
    own: bool

    @property
    def seed(self) -> int:
        return int(leaf(self.job.results, "run", "seed") or 0)

    @property
    def key(self) -> tuple[str, int, str, bool]:
        split = leaf(self.job.results, "evaluation", "split") or "held_out"
        in_sample = bool(leaf(self.job.results, "evaluation", "in_sample"))
        return self.setting, self.num_neurons, split, in_sample


def points(jobs: Sequence[Job]) -> list[Point]:
    """The points of the finished jobs, ordered by model, dataset, split, method and amount.

    A job with a curve counts for each of its amounts. A seed counts once a point.
    """
    named = method_names(jobs)
    groups: dict[tuple[str, int, str, bool], dict[int, _Measured]] = defaultdict(dict)
    # a job's own amount knows more than a curve's entry (failed completions), so it goes first
    measured = sorted(_measured(jobs), key=lambda m: (not m.own, m.job.name))
    for each in measured:
        groups[each.key].setdefault(each.seed, each)
    found = [
        _point([group[seed] for seed in sorted(group)], named, key) for key, group in groups.items()
    ]
    return sorted(
        _distinct(found),
        key=lambda p: (p.model, p.dataset, p.split, p.in_sample, p.method, p.num_neurons),
    )


def _distinct(found: Sequence[Point]) -> list[Point]:
    """Settings that share a name get a part of their hash to it."""
    settings = defaultdict(set)
    for point in found:
        settings[point.model, point.dataset, point.split, point.method].add(point.setting)
    return [
        replace(point, method=f"{point.method} ({point.setting[:6]})")
        if len(settings[point.model, point.dataset, point.split, point.method]) > 1
        else point
        for point in found
    ]


def _measured(jobs: Sequence[Job]) -> Iterator[_Measured]:
    for job in jobs:
        if job.status != "ok" or not leaf(job.results, "change"):
            continue
        setting = _setting(job.config)
        amount = job.results["selection"]["num_pruned"]
        yield _Measured(job, setting, amount, job.results, own=True)
        for entry in job.results.get("curve") or ():
            trees = {"baseline": job.results["baseline"], **entry}
            yield _Measured(job, setting, entry["num_neurons"], trees, own=False)


def _setting(config: _Tree) -> str:
    kept = {
        key: value for key, value in config.items() if key not in (*NOT_CONTENT, "seed", "name")
    }
    for group, keys in _VARIED.items():
        if isinstance(kept.get(group), Mapping):
            kept[group] = {key: value for key, value in kept[group].items() if key not in keys}
    return digest(kept)


def _point(
    parts: Sequence[_Measured], named: Mapping[str, str], key: tuple[str, int, str, bool]
) -> Point:
    setting, amount, split, in_sample = key
    first, trees = parts[0].job, [part.trees for part in parts]

    def changes(*path: str) -> dict[str, Any] | None:
        return combined_changes([leaf(tree, *path) for tree in trees])

    random = ("control", "random")
    change, difference = changes("change") or {}, changes(*random, "difference")
    found = _findings(parts, change, difference)
    return Point(
        setting=setting,
        model=str(leaf(first.results, "model", "name")),
        dataset=str(leaf(first.config, "dataset", "name") or "unknown"),
        method=named[first.name],
        attribution=attribution_of(first),
        num_neurons=amount,
        split=split,
        in_sample=in_sample,
        seeds=tuple(part.seed for part in parts),
        jobs=tuple(part.job.name for part in parts),
        primary=_primary(first),
        baseline=merged([tree["baseline"] for tree in trees], combined_value),
        pruned=merged([tree["pruned"] for tree in trees], combined_value),
        change=change,
        random_draws=min(leaf(tree, *random, "draws") or 0 for tree in trees),
        random=changes(*random, "change"),
        difference=difference,
        oracle=changes("control", "oracle", "change"),
        effect=found.effect,
        beats_random=found.beats_random,
        damage=found.damage,
        verdict=verdict(found),
        budget=_budget(first).perplexity,
    )


def _primary(job: Job) -> tuple[str, ...]:
    return tuple(job.results["evaluation"]["primary_metric"].split("."))


def _budget(job: Job) -> BudgetConfig:
    given = leaf(job.config, "evaluation", "budget") or {}
    names = {each.name for each in fields(BudgetConfig)} & given.keys()
    return BudgetConfig(**{n: given[n] for n in names if not isinstance(given[n], str)})


def _findings(parts: Sequence[_Measured], change: _Tree, difference: _Tree | None) -> Findings:
    """The rules of a run's verdict, applied to what the seeds found together."""
    first = parts[0].job
    # an entry of a curve knows neither failures nor what its design could detect
    own = [part.job.results["evaluation"] if part.own else {} for part in parts]
    failed = Counter[str]()
    for each in own:
        failed.update(leaf(each, "failed_completions", "pruned") or {})
    evaluation = EvaluationConfig(
        split=parts[0].key[2],
        in_sample=first.results["evaluation"]["in_sample"],
        scorers=first.results["evaluation"]["scorers"],
        budget=_budget(first),
    )
    dataset = DatasetConfig(
        neutral_category=str(leaf(first.config, "dataset", "neutral_category") or ""),
        selected_on_baseline=leaf(first.config, "dataset", "selected_on_baseline") is True,
    )
    return findings(
        change,
        difference,
        _primary(first),
        evaluation,
        dataset,
        detectable=mean([each.get("smallest_detectable") for each in own]),
        failed=failed,
    )
