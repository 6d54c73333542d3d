"""A sweep's page: well formed, deaf, and whole without parts that a sweep does not have."""

import html
import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest

from sparc.display import numbers
from sparc.report.axes import changes, percents
from sparc.report.sweep import headline, render_sweep
from sparc.storage.artifacts import write_json
from sparc.sweep import conclude
from sparc.sweeps.jobs import write_expected
from sparc.sweeps.summary import read_sweep
from tests.report.test_report import Outline
from tests.support.sweep_run import (
    make_sweep,
    table_of,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_sweep(tmp_path_factory.mktemp("made"))


@pytest.fixture
def folder(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "sweep"))


def test_the_page_is_well_formed_and_deaf(made):
    sweep = read_sweep(made)
    page = render_sweep(sweep)
    outline = Outline(page)
    assert outline.open == [] and outline.suspicious == [] and outline.scripts == []
    assert outline.labels >= 6  # three charts a split, and the legend's marks
    assert "default-src 'none'" in html.unescape(page)
    assert render_sweep(sweep) == page
    assert "32 neurons (lrp) recommended" in page
    for address in re.findall(r'href="([^"]*)"', page):
        assert address == "#main" or re.fullmatch(r"\./[A-Za-z0-9%._/=,-]+", address)
        assert address == "#main" or (made / unquote(address)).is_file()


def test_a_sweep_without_results_still_has_a_page(tmp_path):
    write_expected(tmp_path / "sweep", [["seed=0"], ["seed=1"]], [], ["seed=0,1"])
    sweep = read_sweep(tmp_path / "sweep")
    assert "No job" in headline(sweep)
    assert Outline(render_sweep(sweep)).open == []
    assert conclude(tmp_path / "sweep") == 1
    assert len(table_of(tmp_path / "sweep")) == 2


def test_parts_that_a_sweep_does_not_have_are_left_out(folder):
    for path in folder.glob("*/results.json"):
        results = json.loads(path.read_text())
        if results["status"] == "ok":
            results["control"] = {"random": None, "oracle": None}
            results["change"]["perplexity"]["general"] |= {"relative": None, "ci95": None}
            write_json(path, results)
    page = render_sweep(read_sweep(folder))
    assert Outline(page).open == [] and "The trade-off" not in page
    assert "random control: as many" not in page


def test_axes_hold_zero_and_tell_steps_apart():
    for ends in ([-1.0, 0.2], [0.001, 0.002], [-0.5, 40.0]):
        axis = changes(ends)
        assert 0.0 in [value for value, _ in axis.ticks]
        assert 0 <= axis.at(min(ends)) <= axis.at(max(ends)) <= 1
    assert percents([0.0, 0.025, 0.05]) == ["0.0%", "+2.5%", "+5.0%"]
    assert percents([-1.0, 0.0]) == [f"{numbers.signed(-100, 0)}%", "0%"]
