"""The points of a sweep: what was measured at one setting and amount, over all seeds."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from sparc.config import NOT_CONTENT, UNDESIRED, BudgetConfig
from sparc.evaluation.verdict import Findings, findings, verdict
from sparc.runs.tree import leaf
from sparc.storage.digests import digest
from sparc.sweeps.combining import combined, combined_changes, combined_value, mean
from sparc.sweeps.jobs import Job
from sparc.sweeps.methods import attribution_of, method_names

Tree = Mapping[str, Any]
_KEPT = ("toxicity", "perplexity", "repetition")  # of a point's trees, in sweep.json


@dataclass(frozen=True)
class Point:
    """Everything that jobs which differ only in their seed found, as means over the seeds.

    setting: a hash of all settings but amount, seed and split. method: what the sweep varies, in
    words. primary: path of the metric that decides. baseline, pruned: trees of values. change,
    random, difference, oracle: trees of changes against the baseline (`difference`: selected -
    random), None without that control. budget: rise of general perplexity that is accepted.
    """

    setting: str
    model: str
    dataset: str
    method: str
    attribution: str
    num_neurons: int
    split: str
    in_sample: bool
    seeds: tuple[int, ...]
    jobs: tuple[str, ...]
    primary: tuple[str, ...]
    baseline: Tree
    pruned: Tree
    change: Tree
    random_draws: int
    random: Tree | None
    difference: Tree | None
    oracle: Tree | None
    effect: str
    beats_random: bool | None
    damage: tuple[str, ...]
    verdict: str
    budget: float

    def as_json(self) -> dict[str, Any]:
        """The point for sweep.json: its trees without categories, further scorers and tasks."""
        named = asdict(self)
        for tree in ("baseline", "pruned", "change", "random", "difference", "oracle"):
            if named[tree] is not None:
                named[tree] = {key: named[tree].get(key) for key in _KEPT}
        control = {
            "random": named["random"]
            and {
                "draws": self.random_draws,
                "change": named["random"],
                "difference": named["difference"],
            },
            "oracle": named["oracle"] and {"change": named["oracle"]},
        }
        for name in ("random_draws", "random", "difference", "oracle"):
            del named[name]
        return {**named, "primary": ".".join(self.primary), "control": control}


@dataclass(frozen=True)
class _Measured:
    """One amount of one job: its own, or an entry of its curve."""

    job: Job
    setting: str
    num_neurons: int
    trees: Tree
    own: bool

    @property
    def seed(self) -> int:
        return int(leaf(self.job.results, "run", "seed") or 0)

    @property
    def key(self) -> tuple[str, int, str, bool]:
        split = leaf(self.job.results, "evaluation", "split") or "held_out"
        return self.setting, self.num_neurons, split, bool(self._evaluation("in_sample"))

    def _evaluation(self, name: str) -> Any:
        return leaf(self.job.results, "evaluation", name)


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


def _setting(config: Tree) -> str:
    kept = {
        key: value for key, value in config.items() if key not in (*NOT_CONTENT, "seed", "name")
    }
    for group, keys in {
        "pruning": ("num_neurons", "curve", "save_model"),
        "evaluation": ("split", "in_sample"),
    }.items():
        values = kept.get(group)
        if isinstance(values, Mapping):
            kept[group] = {key: value for key, value in values.items() if key not in keys}
    return digest(kept)


def _point(
    parts: Sequence[_Measured], named: Mapping[str, str], key: tuple[str, int, str, bool]
) -> Point:
    setting, amount, split, in_sample = key
    first = parts[0].job
    trees = [part.trees for part in parts]
    change = combined_changes([tree["change"] for tree in trees]) or {}
    difference = combined_changes([leaf(t, "control", "random", "difference") for t in trees])
    draws = [leaf(tree, "control", "random", "draws") or 0 for tree in trees]
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
        baseline=combined([tree["baseline"] for tree in trees], combined_value),
        pruned=combined([tree["pruned"] for tree in trees], combined_value),
        change=change,
        random_draws=min(draws),
        random=combined_changes([leaf(tree, "control", "random", "change") for tree in trees]),
        difference=difference,
        oracle=combined_changes([leaf(tree, "control", "oracle", "change") for tree in trees]),
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
    known = {each.name for each in fields(BudgetConfig)}
    return BudgetConfig(
        **{
            key: value
            for key, value in given.items()
            if key in known and not isinstance(value, str)
        }
    )


def _findings(parts: Sequence[_Measured], change: Tree, difference: Tree | None) -> Findings:
    """The rules of a run's verdict, applied to what the seeds found together."""
    first = parts[0].job
    evaluation, primary = first.results["evaluation"], _primary(first)
    split = "in-sample (attributed)" if evaluation["in_sample"] else parts[0].key[2]
    kind = "repetition" if evaluation["scorers"][0] == "repetition" else "toxicity"
    own = [leaf(part.job.results, "evaluation") if part.own else {} for part in parts]
    failed: dict[str, int] = defaultdict(int)
    for each in own:
        for category, count in (leaf(each, "failed_completions", "pruned") or {}).items():
            failed[category] += count
    return findings(
        change,
        difference,
        primary=primary,
        prompts=split.replace("_", "-"),
        detectable=mean([each.get("smallest_detectable") for each in own]),
        undesired=UNDESIRED,
        neutral=str(leaf(first.config, "dataset", "neutral_category") or ""),
        budget=_budget(first),
        metric=f"{kind} {primary[-1]}".replace("_", " "),
        failed=failed,
    )
