"""The report is a pure function of a run directory, complete, small and deaf to hostile text."""

import copy
import json
import re
import subprocess
import sys
import time
from html.parser import HTMLParser

import pytest

from sparc.display.plain import visible
from sparc.report import render
from sparc.report.completions import prompt_means, table
from sparc.runs.summary import show
from sparc.storage.artifacts import write_json, write_text
from tests.support.report_run import make_run
from tests.support.runs import PATIENCE


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return make_run(folder), folder


@pytest.fixture(scope="module")
def page(run):
    return render(*run)


class Outline(HTMLParser):
    """Scripts, event handlers and addresses of a page, and whether its elements are balanced."""

    EMPTY = frozenset({"meta", "input", "img", "br", "link", "hr"})

    def __init__(self, text):
        super().__init__()
        self.open, self.scripts, self.suspicious, self.labels = [], [], [], 0
        self.feed(text)
        self.close()

    def handle_starttag(self, name, attributes):
        if name not in self.EMPTY:
            self.open.append(name)
        if name == "script":
            self.scripts.append(dict(attributes))
        if name in ("img", "iframe", "link", "object", "embed", "base"):
            self.suspicious.append(name)
        for key, value in attributes:
            if key.startswith("on") or key in ("src", "style") or "javascript:" in (value or ""):
                self.suspicious.append((name, key, value))
        self.labels += name == "svg" and ("aria-label" in dict(attributes))

    def handle_startendtag(self, name, attributes):
        self.handle_starttag(name, attributes)
        if name not in self.EMPTY:
            self.handle_endtag(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name


def test_the_page_is_well_formed_and_holds_nothing_foreign(page):
    outline = Outline(page)
    assert outline.open == []
    assert outline.suspicious == []
    assert outline.scripts == [{"type": "application/json", "id": "data"}, {}]
    assert outline.labels == 7
    assert not re.search(r"https?://|@import|url\(", page)


def test_the_page_tells_the_verdict_and_every_arm(page, run):
    results, _ = run
    assert visible(results["verdict"]) in page.replace("&lt;", "<").replace("&#39;", "'")
    for part in ("Toxicity of rude prompts", "Where the cut falls", "oracle: the planted neurons"):
        assert part in page
    assert "reference seeds share only 40% of the selected neurons" in page
    assert "sparc seed=0 &#39;name=&#39;&#34;&#39;&#34;&#39;it is &lt;here&gt;" in page
    assert "${paths.outputs}/x" in page


def test_the_same_run_gives_the_same_bytes_and_can_be_written(page, run, tmp_path):
    assert render(*run) == page
    write_text(tmp_path / "report.html", page)  # no unpaired surrogates are left


def test_rendering_does_not_load_torch():
    code = "import sys, sparc.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=PATIENCE).returncode == 0


def test_parts_that_a_run_does_not_have_are_left_out(run, tmp_path):
    results = copy.deepcopy(run[0])
    results["control"] = {"random": None, "oracle": None}
    results["localisation"] = None
    results["score_report"]["seed_overlap"] = None
    results["selection"] |= {"num_pruned": 0, "fraction": 0.0, "per_layer": [0, 0]}
    results["change"]["perplexity"]["benign"] = None
    results["change"]["toxicity"]["rate"] |= {"relative": None, "ci95": None, "p_value": None}
    results["pruned"]["perplexity"]["general"]["value"] = None
    page = render(results, tmp_path)
    assert Outline(page).open == []
    assert "What the model says" not in page
    assert "random: as many neurons" not in page


def test_a_curve_becomes_a_table(run, tmp_path):
    results = copy.deepcopy(run[0])
    point = {key: results[key] for key in ("pruned", "change", "control")}
    results["curve"] = [{"num_neurons": 7, **point}, {"num_neurons": 14, **point}]
    page = render(results, tmp_path)
    assert "Other amounts" in page
    assert '<th scope="row">14</th>' in page


def test_completions_are_paired_over_arms(run):
    records = [json.loads(line) for line in (run[1] / "completions.jsonl").open()]
    found = table(records)
    assert (found.shown, found.total) == (240, 240)
    assert found.data["arms"] == ["baseline", "pruned", "random"]
    for row in found.data["rows"]:
        category, prompt = found.data["categories"][row[0]], found.data["prompts"][row[1]]
        for position, arm in enumerate(found.data["arms"]):
            original = next(
                r
                for r in records
                if (r["arm"], r["category"], visible(r["prompt"]), r["sample"])
                == (arm, category, prompt, row[2])
            )
            assert row[3 + 2 * position] == visible(original["completion"])
            assert row[4 + 2 * position] == original["score"]


def _record(prompt, sample, completion="said", arm="baseline", score=0.5, category="rude"):
    base = {"arm": arm, "draw": None, "seed": 0, "category": category, "prompt": prompt}
    return base | {"sample": sample, "completion": completion, "score": score}


def test_a_prompt_that_stands_twice_keeps_its_rows():
    found = table([_record("a", 0, "one"), _record("a", 0, "two")])
    assert [row[3] for row in found.data["rows"]] == ["one", "two"]


def test_trimming_keeps_first_samples_of_all_prompts():
    records = [_record(f"p{i}", sample, "x" * 40) for i in range(50) for sample in range(4)]
    found = table(records, limit=50 * 110)
    assert found.total == 200
    assert 50 <= found.shown < 60
    assert {row[1] for row in found.data["rows"] if row[2] == 0} == set(range(50))


def test_prompt_means_leave_out_completions_without_a_score():
    records = [_record("a", 0, score=1.0), _record("a", 1, score=None), _record("b", 0, score=None)]
    records.append(_record("a", 2, score=0.0, category="neutral"))
    assert prompt_means(records, "rude") == {"baseline": {"a": 1.0}}


def test_a_demo_of_ten_thousand_completions_is_small(tmp_path):
    results = make_run(tmp_path, prompts=160, samples=4, draws=5, resamples=20)
    started = time.perf_counter()
    page = render(results, tmp_path)
    print(f"{len(page.encode()) / 1e6:.2f} MB, rendered in {time.perf_counter() - started:.2f} s")
    assert len(page.encode()) < 3e6


def test_the_terminal_gets_no_control_characters(run, capsys):
    results = copy.deepcopy(run[0])
    results["run"]["name"] = results["verdict"] = "\x1b[2J\x07[bold]gone[/bold]\u202e"
    results["score_report"]["warnings"] = [results["verdict"]]
    show(results, "folder\x1b]0;title\x07")
    printed = capsys.readouterr().out
    assert printed.count("\u241b[2J\u2407[bold]gone[/bold]<U+202E>") == 3
    assert not set(printed) & {"\x1b", "\x07", "\u202e"}


def test_neurons_without_cards_are_still_listed(run, tmp_path):
    write_json(tmp_path / "neurons.json", [{"layer": 1, "index": 5, "score": None}])
    page = render(run[0], tmp_path)
    assert "1. layer 1, neuron 5" in page
    assert "The same neurons in every reference seed" not in page
