"""The parts of the report: text made harmless, numbers for reading, charts and shades."""

import json

import pytest
import torch

from sparc.attribution.explanations import histogram
from sparc.components.selection import lowest
from sparc.display import numbers
from sparc.display.plain import embedded_json, visible
from sparc.report import charts
from sparc.report.axes import Axis, ticks
from sparc.report.relevance import coloured, relevance_note
from sparc.report.svg import tag
from tests.support.report_run import HOSTILE
from tests.support.scored import scored


@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_text_cannot_leave_its_script_element(attack):
    text = embedded_json({"text": attack})
    assert "<" not in text
    assert text.isascii()
    assert json.loads(text) == {"text": attack}


def test_invisible_characters_are_spelt_out():
    assert visible("a\x1b[31m\u202eb\x00\ud800\n") == "a\u241b[31m<U+202E>b\u2400\ufffd\n"
    assert visible("caf\u00e9 \U0001f600 \u4f60\u597d") == "caf\u00e9 \U0001f600 \u4f60\u597d"
    assert visible("abcdef", 3) == "abc\u2026"


def test_svg_attributes_and_text_are_escaped():
    made = tag("text", {"class": '"><script>', "x": 1.25}, "<b>")
    assert made == '<text class="&#34;&gt;&lt;script&gt;" x="1.2">&lt;b&gt;</text>'


def test_ticks_are_round_and_inside():
    assert ticks(0, 0.64, 4) == pytest.approx([0, 0.2, 0.4, 0.6])
    assert ticks(3, 3) == [3]
    axis = Axis(-2.0, 2.0, unit=0.5)
    assert axis.at(0.0) == 0.5 and axis.at(-1.0) == pytest.approx(1 - axis.at(1.0))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0012, "+0.12%"), (-1.0, "\u2212100.0%"), (-0.00001, "0.00%"), (None, "\u2013")],
)
def test_percentages(value, text):
    assert numbers.percent(value) == text


def test_a_change_without_a_baseline_is_told_in_points():
    change = {"absolute": 0.05, "relative": None, "ci95": None, "p_value": 0.5}
    assert numbers.changed(("repetition", "loop_rate"), change) == "+5.0 points"
    assert numbers.interval(change) == "no interval"
    assert numbers.chance({**change, "p_value": 0.0005}) == "< 0.001"


def test_charts_count_what_they_are_given():
    means = {"baseline": {"a": 1.0, "b": 0.5}, "pruned": {"a": 0.0, "b": 0.5}}
    assert charts.distributions(means, "rude").rows == [
        ["0.00 to 0.05", "0", "1"],
        ["0.50 to 0.55", "1", "1"],
        ["0.95 to 1.00", "1", "0"],
    ]
    assert "pruned: 1 of 2 prompts lower, 0 higher" in charts.paired(means, "rude").caption
    assert charts.per_layer([0, 3]).rows == [["0", "0"], ["1", "3"]]


@pytest.mark.parametrize(
    ("attribution", "told"),
    [
        ({"name": "lrp", "rules": "cp"}, "Shown is LRP (CP-LRP), by which the neurons were ranked"),
        ({"name": "gradient", "rules": "attnlrp"}, "Shown is gradient \u00d7 input, by which"),
        ({"name": "lrp", "rules": "attnlrp", "reduction": "abs_weight"}, "signed LRP (AttnLRP)"),
        ({"name": "wanda", "rules": "attnlrp"}, "gradient \u00d7 input; it did not choose them"),
        ({"name": "lrp", "rules": "cp", "target": {"kind": "logprob"}}, "is the log-probability"),
        ({}, "Explained is the logit of the most likely next token"),
    ],
)
def test_the_page_says_which_relevance_it_shows(attribution, told):
    assert told in relevance_note(attribution)


def test_a_line_without_relevance_has_no_shade():
    none = {"tokens": ["a", "b"], "inputs": [0.0, 0.0], "removed": [0.0, 0.0]}
    for line in coloured(none)["lines"]:
        assert [shade for _, _, shade in line.tokens] == [0, 0]
    some = {"tokens": ["a", "b", "c"], "inputs": [-4.0, 1.0, 0.0], "removed": [0.0, 0.0, 1.0]}
    inputs, removed = coloured(some)["lines"]
    assert [shade for _, _, shade in inputs.tokens] == [-5, 2, 0]
    assert [shade for _, _, shade in removed.tokens] == [0, 0, 2]  # on the same scale


def test_the_histogram_counts_every_neuron_and_splits_at_the_cut():
    contrast = torch.randn(3, 500, generator=torch.Generator().manual_seed(0)) ** 3
    found = histogram(scored(contrast), lowest(scored(contrast), 40))
    assert sum(found["counts"]) == 1500
    assert found["edges"] == sorted(found["edges"])
    below = zip(found["edges"][1:], found["counts"], strict=True)
    assert sum(count for edge, count in below if edge <= found["cut"]) == 40


@pytest.mark.parametrize("value", [0.0, -3.5])
def test_the_histogram_of_equal_scores(value):
    equal = scored(torch.full((2, 4), value))
    found = histogram(equal, lowest(equal, 1))
    assert sum(found["counts"]) == 8
