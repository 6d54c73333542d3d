"""The sweep's report in Debian's Chromium, opened from disk with the network off."""

import json
import os
import shutil
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from axe_playwright_python.sync_playwright import Axe

from sparc.report.sweep import render_sweep
from sparc.sweeps.summary import read_sweep
from tests.browser import chromium, opened
from tests.report_run import HOSTILE
from tests.sweep_run import make_sweep

pytestmark = pytest.mark.slow

SIZES = ((1280, 800), (390, 844))
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


def _write(folder):
    path = folder / "sweep.html"
    path.write_text(render_sweep(read_sweep(folder)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return _write(make_sweep(tmp_path_factory.mktemp("made")))


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory):
    """Where pictures are kept: SPARC_SCREENSHOTS, else pytest's own folder."""
    named = os.environ.get("SPARC_SCREENSHOTS")
    return Path(named) if named else tmp_path_factory.mktemp("screenshots")


def _harmless(each):
    assert each.complaints == []
    assert each.foreign_requests() == []
    assert each.page.evaluate("window.hacked") is None


def _open_all(page):
    page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true; })")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_it_fits_the_screen(browser, report, screenshots, width, height, scheme):
    with opened(browser, report, width=width, height=height, scheme=scheme) as each:
        page = each.page
        page.screenshot(path=screenshots / f"sweep_{width}_{scheme}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        box = page.locator("#verdict").bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= height
        assert page.locator(".counts").bounding_box()["y"] < height
        _open_all(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        _harmless(each)


@pytest.mark.parametrize(("size", "scheme"), list(zip(SIZES, SCHEMES, strict=True)))
def test_axe_finds_no_serious_violation(browser, report, size, scheme):
    with opened(browser, report, width=size[0], height=size[1], scheme=scheme) as each:
        _open_all(each.page)
        found = Axe().run(each.page).response["violations"]
        grave = [one["id"] for one in found if one["impact"] in ("serious", "critical")]
        assert grave == [], json.dumps(found)[:3000]


def test_charts_have_text_alternatives_and_tables(browser, report):
    with opened(browser, report) as each:
        page = each.page
        charts = page.locator("figure svg[role=img]")
        assert charts.count() == 6
        assert "lrp, 8 neurons" in charts.first.get_attribute("aria-label")
        assert page.locator("figure details table").count() == 6
        summary = page.locator("figure summary").first
        summary.focus()
        page.keyboard.press("Enter")
        assert page.locator("figure table").first.is_visible()


def test_links_lead_to_the_reports_of_the_runs(browser, report):
    with opened(browser, report) as each:
        page = each.page
        links = page.evaluate("[...document.querySelectorAll('.points a')].map(a => a.href)")
        assert len(links) == 24
        for link in links:
            address = urlparse(link)
            assert address.scheme == "file" and Path(unquote(address.path)).is_file()
        page.locator(".points a").first.click()
        page.wait_for_load_state()
        assert page.title() == "a run"


def test_hostile_text_is_shown_and_does_nothing(browser, report):
    with opened(browser, report) as each:
        page = each.page
        said = page.locator(".warning").inner_text()
        for attack in HOSTILE[:4]:
            assert attack in said
        assert "<U+202E>txet desrever" in said and "\u241b[31m" in said
        assert "never started" in said and "no results.json yet" in said
        schemes = page.evaluate(
            "[...document.querySelectorAll('a')].map(a => new URL(a.href).protocol)"
        )
        assert set(schemes) == {"file:"}
        assert page.evaluate("document.querySelectorAll('img, script').length") == 0
        _harmless(each)


def test_the_policy_stops_a_script_that_got_in(browser, report):
    with opened(browser, report) as each:
        each.page.evaluate(
            "document.getElementById('verdict').innerHTML = '<img src=x onerror=\"hacked = 1\">'"
        )
        each.page.wait_for_timeout(200)
        assert each.page.evaluate("window.hacked") is None
        assert any("Content Security Policy" in text for text in each.complaints)


def test_hostile_models_and_data_sets(browser, report, tmp_path):
    """Names from configurations, such as a model's, reach headings and charts."""
    folder = tmp_path / "sweep"
    shutil.copytree(report.parent, folder)
    for path in folder.glob("*/results.json"):
        results = json.loads(path.read_text())
        if results["status"] == "ok":
            results["model"]["name"] = " ".join(HOSTILE)
            path.write_text(json.dumps(results))
    with opened(browser, _write(folder)) as each:
        assert HOSTILE[0] in each.page.locator("#panel1").inner_text()
        assert each.page.evaluate("document.documentElement.scrollWidth") <= 1280
        _harmless(each)
