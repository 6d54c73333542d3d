"""sweep.html: what a sweep found, in one file that opens without a network."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from sparc.display import numbers
from sparc.display.plain import visible
from sparc.report.svg import Figure, picture
from sparc.report.sweep_charts import Series, against_amount
from sparc.report.sweep_marks import sign
from sparc.report.sweep_trade_off import trade_off
from sparc.report.templating import asset, environment, policy
from sparc.runs.tree import leaf
from sparc.sweeps.jobs import Job
from sparc.sweeps.recommending import acceptable
from sparc.sweeps.seed_means import Point
from sparc.sweeps.summary import Sweep
from sparc.sweeps.table import Row, method_names

_GENERAL = ("perplexity", "general")


@dataclass(frozen=True)
class Link:
    """A file beside the page; `address` is relative and safe in an attribute."""

    text: str
    address: str


@dataclass(frozen=True)
class PointRow:
    """A point's line in its table, with a link to each seed's report."""

    method: str
    amount: str
    links: Sequence[Link]
    cells: Sequence[str]


@dataclass(frozen=True)
class Panel:
    """The points of one model, data set and split: figures, legend and table."""

    title: str
    figures: Sequence[Figure]
    legend: Sequence[tuple[str, Markup]]
    columns: Sequence[str]
    rows: Sequence[PointRow]
    has_random: bool


def render_sweep(sweep: Sweep) -> str:
    """The report of a sweep as one page of HTML that loads nothing and runs no script.

    A function of `sweep` alone, so that the same folder gives the same page again. Links lead to
    the reports and logs in the folders of the jobs.
    """
    style = asset("report.css") + asset("sweep.css")
    names = method_names([job for job, _ in sweep.jobs])
    reports = {job.name: job.report for job, _ in sweep.jobs}
    panels = [_panel(list(group), reports) for _, group in groupby(sweep.points, _where)]
    return (
        environment()
        .get_template("sweep.html.j2")
        .render(
            sweep=sweep,
            headline=headline(sweep),
            panels=panels,
            unfinished=[_complaint(job) for job in sweep.unfinished],
            jobs=[_job_line(job, row, names[job.name]) for job, row in sweep.jobs],
            seeds=sorted({seed for point in sweep.points for seed in point.seeds}),
            command=None
            if sweep.arguments is None
            else shlex.join(["sparc", "-m", *sweep.arguments]),
            style=Markup(style),
            policy=policy(style, ""),
        )
    )


def _where(point: Point) -> tuple[str, str, str, bool]:
    return point.model, point.dataset, point.split, point.in_sample


def address(path: str) -> str:
    """`path` below the sweep's folder as a relative address that names no scheme."""
    return "./" + quote(path)


def headline(sweep: Sweep) -> str:
    """The sweep in one sentence: what is recommended, else what was found how often."""
    found = [each for each in sweep.recommended if each.reported]
    if len(found) == 1 and len(sweep.recommended) == 1 and found[0].reported:
        point = found[0].reported
        return f"{point.num_neurons:,} neurons ({point.method}) recommended. {point.verdict}"
    if not sweep.points:
        return "No job of this sweep has measured anything yet."
    good = [point for point in sweep.points if acceptable(point)]
    control = [point for point in sweep.points if point.beats_random is not None]
    than = " by more than random" if len(control) == len(sweep.points) else ""
    total = len(sweep.points)
    points = "point" if total == 1 else "points"
    if not good:
        return f"At none of {total} {points} does the behaviour fall{than} without damage."
    return f"At {len(good)} of {total} {points} the behaviour falls{than}, without damage."


def _panel(points: Sequence[Point], reports: Mapping[str, str | None]) -> Panel:
    first = points[0]
    prompts = "in-sample prompts" if first.in_sample else f"{first.split} prompts"
    methods = groupby(points, lambda point: point.method)
    series = [
        Series(visible(name), index, list(group)) for index, (name, group) in enumerate(methods)
    ]
    metric = " ".join(first.primary).replace("_", " ")
    has_random = any(point.random for point in points)
    note = "Change against the baseline, with 95% intervals." + _band_note(points)
    figures = [
        against_amount(metric.capitalize(), first.primary, series, note),
        against_amount("General perplexity", _GENERAL, series, note),
        trade_off(series, first.primary, metric),
    ]
    return Panel(
        title=visible(f"{first.model}, {first.dataset}, {prompts.replace('_', '-')}"),
        figures=[figure for figure in figures if figure],
        legend=[(each.name, _sample(each)) for each in series],
        columns=_columns(metric),
        rows=[
            PointRow(
                visible(point.method),
                f"{point.num_neurons:,}",
                _links(point, reports),
                _cells(point),
            )
            for point in points
        ],
        has_random=has_random,
    )


def _band_note(points: Sequence[Point]) -> str:
    """What the band of the random control is; every method has a control of its own layers."""
    methods = {point.method for point in points if point.random}
    if len(methods) > 1:
        return (
            f" The band spans the random controls of all {len(methods)} methods, from the lowest "
            "end of their intervals to the highest; its line and squares are their mean."
        )
    band = " The band is the random control's interval, its line and squares the mean."
    return band if methods else ""


def _sample(series: Series) -> Markup:
    return picture(14, 14, "", [sign(series.style, 7, 7)])


def _columns(metric: str) -> list[str]:
    return [
        f"{metric}: baseline",
        "pruned",
        "change",
        "95% interval",
        "random",
        "more than random",
        "general perplexity",
        "95% interval",
        "damage",
    ]


def _cells(point: Point) -> list[str]:
    primary, cost = leaf(point.change, *point.primary), leaf(point.change, *_GENERAL)
    beats = {True: "yes", False: "no", None: numbers.MISSING}[point.beats_random]
    return [
        numbers.quantity(point.primary, leaf(point.baseline, *point.primary, "value")),
        numbers.quantity(point.primary, leaf(point.pruned, *point.primary, "value")),
        numbers.changed(point.primary, primary),
        numbers.interval(primary),
        numbers.changed(point.primary, leaf(point.random, *point.primary)),
        beats if point.effect != "none" else "no effect",
        numbers.changed(_GENERAL, cost),
        numbers.interval(cost),
        visible("; ".join(point.damage)) or "none",
    ]


def _links(point: Point, reports: Mapping[str, str | None]) -> list[Link]:
    return [
        Link(str(seed), address(report))
        for seed, job in zip(point.seeds, point.jobs, strict=True)
        if (report := reports[job])
    ]


def _complaint(job: Job) -> dict[str, Any]:
    none_yet = "it never started" if job.folder is None else "no results.json yet"
    return {
        "status": visible(job.status),
        "name": visible(job.name),
        "reason": visible(job.reason or (none_yet if job.status == "missing" else "")),
        "log": Link("log", address(job.log)) if job.log else None,
    }


def _job_line(job: Job, row: Row, method: str) -> dict[str, Any]:
    links = [("report", job.report), ("log", job.log)]
    shown = {key: numbers.MISSING if row[key] is None else row[key] for key in row}
    return {
        "method": visible(method),
        "cells": [
            visible(str(shown["num_neurons"])),
            visible(str(shown["seed"])),
            visible(str(shown["split"])).replace("_", "-"),
            {"ok": "done"}.get(job.status, visible(job.status)),
            numbers.percent(row["toxicity_relative"]),
            numbers.percent(row["perplexity_relative"]),
        ],
        "links": [Link(text, address(path)) for text, path in links if path],
        "name": visible(job.name),
    }
