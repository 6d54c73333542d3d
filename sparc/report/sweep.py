"""sweep.html: what a sweep found, in one file that opens without a network."""

import shlex
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any
from urllib.parse import quote

from sparc.display import numbers
from sparc.display.plain import visible
from sparc.report.metrics import GENERAL, before_and_after, change_and_interval, name
from sparc.report.sweep_charts import Series, against_amount, trade_off
from sparc.report.templating import page
from sparc.sweeps.jobs import Job
from sparc.sweeps.methods import method_names
from sparc.sweeps.points import Point
from sparc.sweeps.recommending import acceptable
from sparc.sweeps.rows import Row
from sparc.sweeps.summary import Sweep

_BEATS = {True: "yes", False: "no", None: numbers.MISSING}


def render_sweep(sweep: Sweep) -> str:
    """The report of a sweep as one page of HTML that loads nothing and runs no script.

    A function of `sweep` alone, so that the same folder gives the same page again. Links lead to
    the reports and logs in the folders of the jobs.
    """
    names = method_names([job for job, _ in sweep.jobs])
    reports = {job.name: job.report for job, _ in sweep.jobs}
    return page(
        "sweep.html.j2",
        *("report.css", "sweep.css"),
        title=sweep.name,
        sweep=sweep,
        headline=headline(sweep),
        panels=[_panel(list(group), reports) for _, group in groupby(sweep.points, _where)],
        unfinished=[_complaint(job) for job in sweep.unfinished],
        jobs=[_job_line(job, row, names[job.name]) for job, row in sweep.jobs],
        seeds=sorted({seed for point in sweep.points for seed in point.seeds}),
        command=None if sweep.arguments is None else shlex.join(["sparc", "-m", *sweep.arguments]),
    )


def _where(point: Point) -> tuple[str, str, str, bool]:
    return point.model, point.dataset, point.split, point.in_sample


def _address(path: str) -> str:
    """`path` below the sweep's folder as a relative address that names no scheme."""
    return "./" + quote(path)


def headline(sweep: Sweep) -> str:
    """The sweep in one sentence: what is recommended, else what was found how often."""
    found = [each.reported for each in sweep.recommended]
    if len(found) == 1 and found[0]:
        point = found[0]
        return f"{point.num_neurons:,} neurons ({point.method}) recommended. {point.verdict}"
    if not sweep.points:
        return "No job of this sweep has measured anything yet."
    good, total = sum(map(acceptable, sweep.points)), len(sweep.points)
    tested = all(point.beats_random is not None for point in sweep.points)
    than = " by more than random" if tested else ""
    points = "point" if total == 1 else "points"
    if not good:
        return f"At none of {total} {points} does the behaviour fall{than} without damage."
    return f"At {good} of {total} {points} the behaviour falls{than}, without damage."


def _panel(points: Sequence[Point], reports: Mapping[str, str | None]) -> dict[str, Any]:
    """The points of one model, data set and split: figures, legend and table."""
    first = points[0]
    prompts = "in-sample" if first.in_sample else first.split.replace("_", "-")
    methods = groupby(points, lambda point: point.method)
    series = [
        Series(visible(method), index, list(group)) for index, (method, group) in enumerate(methods)
    ]
    metric = name(first.primary)
    controlled = {point.method for point in points if point.random}
    note = "Change against the baseline, with 95% intervals." + _band_note(len(controlled))
    figures = [
        against_amount(metric.capitalize(), first.primary, series, note),
        against_amount("General perplexity", GENERAL, series, note),
        trade_off(series, first.primary, metric),
    ]
    return {
        "title": f"{first.model}, {first.dataset}, {prompts} prompts",
        "figures": list(filter(None, figures)),
        "series": series,
        "metric": metric,
        "points": [(point, _cells(point), _links(point, reports)) for point in points],
        "has_random": bool(controlled),
    }


def _band_note(methods: int) -> str:
    """What the band of the random control is; every method has a control of its own layers."""
    if methods > 1:
        return (
            f" The band spans the random controls of all {methods} methods, from the lowest "
            "end of their intervals to the highest; its line and squares are their mean."
        )
    band = " The band is the random control's interval, its line and squares the mean."
    return band if methods else ""


def _cells(point: Point) -> list[str]:
    return [
        *before_and_after(point.baseline, point.pruned, point.primary),
        *change_and_interval(point.change, point.primary),
        change_and_interval(point.random, point.primary)[0],
        _BEATS[point.beats_random] if point.effect != "none" else "no effect",
        *change_and_interval(point.change, GENERAL),
        "; ".join(point.damage) or "none",
    ]


def _links(point: Point, reports: Mapping[str, str | None]) -> list[tuple[str, str]]:
    """Each seed with the address of its report, where there is one."""
    jobs = zip(point.seeds, point.jobs, strict=True)
    return [(str(seed), _address(report)) for seed, job in jobs if (report := reports[job])]


def _complaint(job: Job) -> dict[str, Any]:
    none_yet = "it never started" if job.folder is None else "no results.json yet"
    return {
        "job": job,
        "reason": job.reason or (none_yet if job.status == "missing" else ""),
        "log": _address(job.log) if job.log else None,
    }


def _job_line(job: Job, row: Row, method: str) -> dict[str, Any]:
    stated = (row["num_neurons"], row["seed"], row["split"])
    amount, seed, split = (numbers.MISSING if each is None else str(each) for each in stated)
    files = {"report": job.report, "log": job.log}
    return {
        "method": method,
        "cells": [
            *(amount, seed, split.replace("_", "-")),
            "done" if job.status == "ok" else job.status,
            numbers.percent(row["toxicity_relative"]),
            numbers.percent(row["perplexity_relative"]),
        ],
        "links": [(kind, _address(path)) for kind, path in files.items() if path],
        "name": job.name,
    }
