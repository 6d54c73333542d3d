"""The report in Debian's Chromium, opened from disk with the network off."""

import json
import re
import time

import pytest
from playwright.sync_api import expect

from sparc.report import render
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
from tests.support.report_run import HOSTILE, make_run
from tests.support.runs import QUICK, run_folders, sparc

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    path = folder / "report.html"
    path.write_text(render(make_run(folder), folder), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of the real command's run: the demo at a reduced size."""
    home = tmp_path_factory.mktemp("home")
    done = sparc(*QUICK, "dataset.reference_seeds=[0,1]", home=home)
    assert done.returncode == 0, done.stderr
    return run_folders(home)[0]


@pytest.fixture(scope="module")
def pages(report, run):
    """A made-up run's report full of attacks, and that of a real run."""
    return {"made": report, "real": run / "report.html"}


@pytest.mark.parametrize("kind", ["made", "real"])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_it_fits_the_screen(browser, pages, screenshots, width, height, scheme, kind):
    with opened(browser, pages[kind], width=width, height=height, scheme=scheme) as each:
        page = each.page
        page.screenshot(path=screenshots / f"report_{kind}_{width}_{scheme}.png")
        fits(page, width)
        in_first_viewport(page, "#verdict", height)
        in_first_viewport(page, ".metric >> nth=0", height)
        page.locator("#reveal-all").click()
        if scheme == "light":  # a picture of the whole page takes seconds
            page.screenshot(path=screenshots / f"report_{kind}_{width}_all.png", full_page=True)
        open_details(page)
        fits(page, width)
        harmless(each)


@pytest.mark.parametrize("kind", ["made", "real"])
@pytest.mark.parametrize(("size", "scheme"), list(zip(SIZES, SCHEMES, strict=True)))
def test_axe_finds_no_serious_violation(browser, pages, size, scheme, kind):
    with opened(browser, pages[kind], width=size[0], height=size[1], scheme=scheme) as each:
        each.page.locator("#reveal-all").click()
        open_details(each.page)
        no_grave_violation(each.page)


def test_a_real_report_tells_all_of_its_run(browser, run):
    results = json.loads((run / "results.json").read_text())
    neurons = json.loads((run / "neurons.json").read_text())
    with opened(browser, run / "report.html") as each:
        page = each.page
        assert page.locator("#verdict").inner_text() == results["verdict"]
        titles = page.locator("figure h3").all_inner_texts()
        assert len(titles) == 7 and "The same neurons in every reference seed" in titles
        headings = page.locator(".neuron h4").all_inner_texts()
        assert len(headings) == 12
        for record, heading in zip(neurons, headings, strict=False):
            assert f"layer {record['layer']}, neuron {record['index']} " in heading
        token = page.locator(".neuron").first.locator("ul .token").first
        assert token.text_content() == neurons[0]["card"]["undesired"][0]["token"].strip()
        assert "by which the neurons were ranked" in page.locator("#tokens + .note").inner_text()
        page.locator("#query").fill("angry because")
        expect(page.locator("#count")).not_to_have_text("64 of 64 rows")
        assert page.locator("mark").first.text_content() == "angry because"
        page.locator("#query").fill("")
        page.locator("#category").select_option(label="rude")
        page.locator("#sort").select_option("fall")
        scores = page.locator("#rows > li").first.locator(".arms h3 span").all_inner_texts()
        before, after = (float(text.split()[1]) for text in scores[:2])
        assert before > 0.5 > after
        harmless(each)
    assert (run / "report.html").stat().st_size < 3e6


def test_print_leaves_out_what_was_blurred(browser, report, screenshots):
    with opened(browser, report, scheme="dark") as each:
        page = each.page
        page.locator("#rows .reveal").first.click()
        page.emulate_media(media="print")
        assert page.locator("#rows > li:visible").count() == 1
        assert page.locator(".neuron .veil:visible").count() == 0
        assert page.locator(".printed").is_visible() and not page.locator("#query").is_visible()
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == "rgb(255, 255, 255)"  # no ink for the dark
        page.pdf(path=screenshots / "report.pdf", format="A4")
        harmless(each)


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
        harmless(each)


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
        harmless(each)


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
        harmless(each)


def test_the_policy_stops_a_script_that_got_in(browser, report):
    with opened(browser, report) as each:
        policy_stops_scripts(each, "count")


def test_a_hundred_thousand_completions_are_cut_to_a_page_that_opens(browser, tmp_path):
    results = make_run(tmp_path, prompts=500, samples=25, draws=1, resamples=10)
    with (tmp_path / "completions.jsonl").open() as lines:
        assert sum(1 for _ in lines) == 100_000
    path = tmp_path / "report.html"
    started = time.perf_counter()
    path.write_text(render(results, tmp_path), encoding="utf-8")
    written = time.perf_counter() - started
    assert path.stat().st_size < 6e6
    started = time.perf_counter()
    with opened(browser, path) as each:
        assert _rows(each.page).count() == 10
        spent = time.perf_counter() - started
        print(f"100,000 completions: written in {written:.2f} s, open after {spent:.2f} s")
        warning = each.page.locator("#said ~ .warning").inner_text()
        assert re.match(r"[\d,]+ of 25,000 rows are shown", warning)
        harmless(each)
