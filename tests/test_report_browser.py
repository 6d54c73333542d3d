"""The report in Debian's Chromium, opened from disk with the network off."""

import json
import os
import re
import time
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from sparc.report import render
from tests.browser import chromium, opened
from tests.report_run import HOSTILE, make_run

pytestmark = pytest.mark.slow

SIZES = ((1280, 800), (390, 844))
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    path = folder / "report.html"
    path.write_text(render(make_run(folder), folder), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory):
    """Where pictures are kept: SPARC_SCREENSHOTS, else pytest's own folder."""
    named = os.environ.get("SPARC_SCREENSHOTS")
    return Path(named) if named else tmp_path_factory.mktemp("screenshots")


def _harmless(each):
    assert each.complaints == []
    assert each.foreign_requests() == []
    assert each.page.evaluate("window.hacked") is None


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_it_fits_the_screen(browser, report, screenshots, width, height, scheme):
    with opened(browser, report, width=width, height=height, scheme=scheme) as each:
        page = each.page
        page.screenshot(path=screenshots / f"report_{width}_{scheme}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        box = page.locator("#verdict").bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= height
        assert page.locator(".metric").first.bounding_box()["y"] < height
        page.locator("#reveal-all").click()
        if scheme == "light":  # a picture of the whole page takes seconds
            page.screenshot(path=screenshots / f"report_{width}_all.png", full_page=True)
        page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        _harmless(each)


@pytest.mark.parametrize(("size", "scheme"), list(zip(SIZES, SCHEMES, strict=True)))
def test_axe_finds_no_serious_violation(browser, report, size, scheme):
    with opened(browser, report, width=size[0], height=size[1], scheme=scheme) as each:
        each.page.locator("#reveal-all").click()
        each.page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true; })")
        found = Axe().run(each.page).response["violations"]
        grave = [one["id"] for one in found if one["impact"] in ("serious", "critical")]
        assert grave == [], json.dumps(found)[:3000]


def test_text_is_blurred_until_it_is_shown(browser, report):
    with opened(browser, report) as each:
        page = each.page
        blur = "e => getComputedStyle(e).filter"
        first = page.locator("#rows > li").first
        said = first.locator(".said").first
        assert "blur" in said.evaluate(blur)
        assert said.get_attribute("aria-hidden") == "true"
        assert page.locator("#rows .reveal[aria-expanded=false]").count() == 10

        first.locator(".reveal").click()
        assert said.evaluate(blur) == "none"
        assert said.get_attribute("aria-hidden") == "false"
        assert page.locator("#rows .reveal[aria-expanded=true]").count() == 1
        page.keyboard.press("Enter")  # the button kept the focus
        assert "blur" in said.evaluate(blur)
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        second = page.locator("#rows > li").nth(1).locator(".said").first
        assert second.evaluate(blur) == "none"

        card = page.locator(".neuron").first
        assert "blur" in card.locator(".veil").evaluate(blur)
        card.locator(".reveal").click()
        assert card.locator(".veil").evaluate(blur) == "none"
        _harmless(each)


def test_one_button_shows_and_blurs_all(browser, report):
    with opened(browser, report) as each:
        page = each.page
        page.locator("#reveal-all").focus()
        page.keyboard.press("Enter")
        assert page.locator(".veil[aria-hidden=true]").count() == 0
        page.locator("#next").click()
        assert page.locator("#rows .veil[aria-hidden=true]").count() == 0
        page.locator("#reveal-all").click()
        assert page.locator(".veil[aria-hidden=false]").count() == 0


def _rows(page):
    return page.locator("#rows > li")


def test_search_filter_sort_and_pages(browser, report):
    with opened(browser, report) as each:
        page = each.page
        assert page.locator("#count").inner_text() == "240 of 240 rows"
        page.locator("#query").fill("NUMBER 0007")
        expect(page.locator("#count")).to_have_text("8 of 240 rows")
        assert page.locator("mark").first.inner_text() == "number 0007"
        page.locator("#category").select_option(label="neutral")
        assert page.locator("#count").inner_text() == "4 of 240 rows"
        page.locator("#query").fill("")
        expect(page.locator("#count")).to_have_text("120 of 240 rows")
        page.locator("#category").select_option(label="rude")

        page.locator("#sort").select_option("fall")
        first = _rows(page).first.locator(".arms h3 span").all_inner_texts()
        assert first[:2] == ["score 0.97", "score 0.01"]
        page.locator("#sort").select_option("rise")
        first = _rows(page).first.locator(".arms h3 span").all_inner_texts()
        assert first[:2] == ["score 0.01", "score 0.97"]
        page.locator("#sort").select_option("prompt")
        prompts = page.locator(".prompt").all_text_contents()
        assert prompts == sorted(prompts)

        assert page.locator("#previous").is_disabled()
        for _ in range(11):
            page.locator("#next").click()
        assert page.locator("#page").inner_text() == "Page 12 of 12"
        assert page.locator("#next").is_disabled()
        _harmless(each)


def test_hostile_text_is_shown_and_does_nothing(browser, report):
    with opened(browser, report) as each:
        page = each.page
        page.locator("#reveal-all").click()
        for attack in HOSTILE[:4]:
            page.locator("#query").fill(attack)
            expect(page.locator("mark").first).to_have_text(attack)
            assert attack in _rows(page).first.inner_text()
        page.locator("#query").fill("7 * 7")
        expect(page.locator("mark").first).to_have_text("7 * 7")
        shown = _rows(page).first.locator(".prompt").inner_text()
        assert shown.startswith(
            "<U+202E>txet desrever<U+2066> \u241b[31mred\u2407 \u2400 \ufffd {{"
        )
        links = page.evaluate(
            "[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))"
        )
        assert links == ["#main"]
        assert page.evaluate("document.querySelectorAll('img').length") == 0
        assert re.fullmatch(r"made-up <b>run</b> . sparc", page.title())
        _harmless(each)


def test_the_policy_stops_a_script_that_got_in(browser, report):
    with opened(browser, report) as each:
        each.page.evaluate(
            "document.getElementById('count').innerHTML = '<img src=x onerror=\"hacked = 1\">'"
        )
        each.page.wait_for_timeout(200)
        assert each.page.evaluate("window.hacked") is None
        assert any("Content Security Policy" in text for text in each.complaints)


def test_a_hundred_thousand_completions_open_quickly(browser, tmp_path):
    results = make_run(tmp_path, prompts=500, samples=25, draws=1, resamples=10)
    path = tmp_path / "report.html"
    path.write_text(render(results, tmp_path), encoding="utf-8")
    assert path.stat().st_size < 6e6
    started = time.perf_counter()
    with opened(browser, path) as each:
        assert _rows(each.page).count() == 10
        assert time.perf_counter() - started < 5
        warning = each.page.locator("#said ~ .warning").inner_text()
        assert re.match(r"[\d,]+ of 25,000 rows are shown", warning)
        _harmless(each)
