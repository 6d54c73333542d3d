"""The sweep's report in Debian's Chromium, opened from disk with the network off."""

import json
import shutil
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from sparc.report.sweep import render_sweep
from sparc.sweeps.summary import read_sweep
from tests.support.browser import (
    SCHEMES,
    SIZES,
    fits,
    harmless,
    in_first_viewport,
    no_grave_violation,
    open_details,
    opened,
    policy_stops_scripts,
)
from tests.support.report_run import HOSTILE
from tests.support.runs import QUICK, sparc
from tests.support.sweep_run import make_sweep

pytestmark = pytest.mark.slow


def _write(folder):
    path = folder / "sweep.html"
    path.write_text(render_sweep(read_sweep(folder)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return _write(make_sweep(tmp_path_factory.mktemp("made")))


@pytest.fixture(scope="module")
def pages(report, tmp_path_factory):
    """A made-up sweep's report full of attacks, and that of a small sweep of real runs."""
    home = tmp_path_factory.mktemp("home")
    swept = ("attribution=lrp,wanda", "pruning.num_neurons=8,32")
    done = sparc("-m", *QUICK, "evaluation.random_draws=2", *swept, home=home)
    assert done.returncode == 0, done.stderr
    (folder,) = (home / "outputs" / "sweeps").iterdir()
    return {"made": report, "real": folder / "sweep.html"}


@pytest.mark.parametrize("kind", ["made", "real"])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_it_fits_the_screen(browser, pages, screenshots, width, height, scheme, kind):
    with opened(browser, pages[kind], width=width, height=height, scheme=scheme) as each:
        page = each.page
        page.screenshot(path=screenshots / f"sweep_{kind}_{width}_{scheme}.png", full_page=True)
        fits(page, width)
        in_first_viewport(page, "#verdict", height)
        in_first_viewport(page, ".counts", height)
        open_details(page)
        fits(page, width)
        harmless(each)


@pytest.mark.parametrize("kind", ["made", "real"])
@pytest.mark.parametrize(("size", "scheme"), list(zip(SIZES, SCHEMES, strict=True)))
def test_axe_finds_no_serious_violation(browser, pages, size, scheme, kind):
    with opened(browser, pages[kind], width=size[0], height=size[1], scheme=scheme) as each:
        open_details(each.page)
        no_grave_violation(each.page)


def test_a_real_sweep_compares_its_methods_and_leads_to_its_runs(browser, pages):
    with opened(browser, pages["real"]) as each:
        page = each.page
        counts = page.locator(".counts").inner_text().split()
        assert " ".join(counts) == "4 done 0 failed 0 missing 4 points seed 0"
        label = page.locator("figure svg[role=img]").first.get_attribute("aria-label")
        for amount in (8, 32):
            for method in ("lrp", "wanda"):
                assert f"{method}, {amount} neurons" in label
        captions = page.locator("figcaption").all_inner_texts()
        assert sum("random controls of all 2 methods" in caption for caption in captions) == 2
        harmless(each)
        assert page.locator(".points a").count() == 4
        page.locator(".points a").first.click()
        page.wait_for_load_state()
        folder = Path(unquote(urlparse(page.url).path)).parent
        results = json.loads((folder / "results.json").read_text())
        assert page.locator("#verdict").inner_text() == results["verdict"]
        assert each.complaints == []


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
        harmless(each)


def test_the_policy_stops_a_script_that_got_in(browser, report):
    with opened(browser, report) as each:
        policy_stops_scripts(each, "verdict")


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
        harmless(each)
