"""Data sets of a hub on loopback: fetched by the real library, kept, and refused in one line."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import hub_data
from tests.support.hub_data import C4, TOXICITY, WIKITEXT
from tests.support.hub_reads import ask
from tests.support.hub_server import GOOD_TOKEN, POOR_TOKEN, Fault, hub_server
from tests.support.runs import PATIENCE, environment

REPOSITORY = Path(__file__).parents[2]
SEQUENCES = {"samples": 16, "seq_len": 96, "buffer": 100}


def texts_of(path: str, options: dict | None = None, **more) -> tuple:
    return ("texts", {"path": path, **more}, options or {})


WIKI = texts_of(WIKITEXT, {"blank": True}, config="wikitext-2-raw-v1", split="test")
DATA = (
    ("sequences", {"path": C4, "config": "en", **SEQUENCES}, {"seed": 0}),
    ("sequences", {"path": C4, "config": "en", **SEQUENCES}, {"seed": 1}),
    (
        "prompts",
        {"path": TOXICITY, "column": "prompt.text", "score_column": "prompt.toxicity"},
        {},
    ),
    WIKI,
    ("revision", {"path": C4}, {}),
)
NAIVE = """
import json
from datasets import load_dataset
from transformers import AutoTokenizer
from sparc.config.locations import EMBEDDED_MODEL
tokenizer, found = AutoTokenizer.from_pretrained(EMBEDDED_MODEL), {0: [], 1: []}
for seed in found:
    rows = load_dataset("allenai/c4", "en", split="train", streaming=True)
    for row in rows.shuffle(seed=seed, buffer_size=100):
        ids = tokenizer(row["text"], truncation=True, max_length=96)["input_ids"]
        if len(ids) == 96:
            found[seed].append(ids)
        if len(found[seed]) == 16:
            break
rows = load_dataset("Salesforce/wikitext", "wikitext-2-raw-v1", split="test", streaming=True)
print(json.dumps([found[0], found[1], "\\n\\n".join(row["text"] for row in rows)]))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The three data sets, two odd ones, and copies of one for each misfortune."""
    root = tmp_path_factory.mktemp("hub")
    hub_data.serve_c4(root)
    hub_data.serve_toxicity_prompts(root)
    hub_data.serve_wikitext(root)
    line = json.dumps({"text": "a b c"}) + "\n"
    odd = {
        "odd/malformed": (line * 2 + '{"text": \n' + line).encode(),
        "odd/cut": gzip.compress(line.encode() * 500)[:-20],
        "odd/numbers": b'{"text": 1}\n{"text": 2}\n',
        **{f"odd/{name}": line.encode() * 3 for name in ("gated", "broken", "once", "always")},
        "odd/slow": line.encode() * 40_000,
        "odd/nothing": b"",
    }
    for name, content in odd.items():
        folder = root / "datasets" / name
        folder.mkdir(parents=True)
        if content:
            suffix = "json.gz" if name == "odd/cut" else "jsonl"
            (folder / f"data.{suffix}").write_bytes(content)
        else:
            (folder / "README.md").write_text("nothing here\n")
    return root


@pytest.fixture(scope="module")
def fetched(root, tmp_path_factory):
    """What was fetched, the home it was kept in, and the server, which is running."""
    home = tmp_path_factory.mktemp("user")
    with hub_server(root) as server:
        yield ask(server, home, *DATA), home, server


@pytest.mark.slow
def test_the_library_fetches_what_a_plain_loop_over_it_gives(fetched):
    answers, home, server = fetched
    one, two, prompts, rows, revision = answers.found
    done = subprocess.run(
        [sys.executable, "-c", NAIVE],
        env=environment(home, **server.environment()),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    expected = json.loads(done.stdout.splitlines()[-1])
    assert [[ids for _, ids in each] for each in (one, two)] == expected[:2]
    assert one != two and {len(ids) for _, ids in one + two} == {96}
    assert "\n\n".join(rows) == expected[2] and rows[0] == "" and len(rows) == 121
    assert {category for _, category, _ in prompts} == {"toxic", "neutral"}
    assert len({text for text, _, _ in prompts}) == len(prompts) > 140
    assert len(revision) == 40


@pytest.mark.slow
def test_a_second_time_nothing_is_asked(fetched, root):
    answers, home, server = fetched
    before = len(server.log)
    again = ask(server, home, *DATA)
    assert again.found == answers.found
    assert server.log[before:] == []
    with hub_server(root) as stopped:
        stopped.close()
        missing = (
            texts_of(WIKITEXT, config="wikitext-2-raw-v1", split="validation"),
            texts_of("a/b"),
        )
        offline = ask(stopped, home, *DATA, *missing, HF_HUB_OFFLINE="1")
    assert offline.found[: len(DATA)] == answers.found and not offline.stderr
    for message, pauses in list(zip(offline.found, offline.pauses, strict=True))[len(DATA) :]:
        assert "HF_HUB_OFFLINE=1" in message and "run stage=prefetch" in message
        assert "\n" not in message and pauses < 10


@pytest.mark.slow
def test_without_a_network_the_cache_serves_or_it_fails_without_long_pauses(fetched, root):
    answers, home, _ = fetched
    fresh = [(kind, more, {**options, "cache": "fresh"}) for kind, more, options in DATA]
    with hub_server(root) as stopped:
        stopped.close()
        kept = ask(stopped, home, *DATA, *fresh)
    assert kept.found[: len(DATA)] == answers.found
    for message, pauses in list(zip(kept.found, kept.pauses, strict=True))[len(DATA) :]:
        assert "no answer from the hub" in message and "run stage=prefetch" in message
        assert "\n" not in message and pauses < 10


@pytest.mark.slow
def test_what_the_hub_refuses_is_told_in_one_line(root, tmp_path):
    faults = {
        "datasets/odd/gated": Fault(gated=True),
        "datasets/odd/broken": Fault(status=500),
    }
    parts = [
        (texts_of("nobody/none"), "data set nobody/none: no such repository"),
        (texts_of("odd/gated"), "data set odd/gated: gated, and no token here"),
        (texts_of("odd/gated", {"token": POOR_TOKEN}), "gated, and this token has no access"),
        (texts_of("odd/broken"), "HTTP 500"),
        (texts_of(C4, config="xx"), "'xx' not found. Available: ['en']"),
        (texts_of(C4, config="en", split="no"), "Bad split: no. Available splits: ['train',"),
        (texts_of(C4, config="en", revision="v9"), "no such revision"),
        (texts_of(C4, config="en", column="body"), "'body' is missing; there are: text, time"),
        (texts_of("odd/malformed"), "data set odd/malformed: cannot be read"),
        (texts_of("odd/cut"), "data set odd/cut: cannot be read"),
        (texts_of("odd/numbers"), "line 1: column 'text' is 1; expected a text"),
        (texts_of("odd/nothing"), "data set odd/nothing: cannot be read"),
        (
            ("sequences", {"path": C4, "config": "en", **SEQUENCES, "samples": 999}, {"seed": 0}),
            "of 999 texts of at least 96 tokens found among 400, and there are no more",
        ),
    ]
    good = texts_of("odd/gated", {"token": GOOD_TOKEN, "cache": "good"})
    with hub_server(root, faults) as server:
        told = ask(server, tmp_path / "home", *(part for part, _ in parts), good)
    *messages, found = told.found
    for message, (part, beginning) in zip(messages, parts, strict=True):
        assert isinstance(message, str) and beginning in message, (part, message)
        assert "\n" not in message and "Traceback" not in message
    assert found == ["a b c"] * 3
    kept = (tmp_path / "home" / "cache" / "usual").glob("*/*")
    manifests = [json.loads((each / "manifest.json").read_text()) for each in kept if each.is_dir()]
    # what broke is not there the next time; the numbers came whole, and are refused as texts
    assert [each["key"]["path"] for each in manifests] == ["odd/numbers"]


@pytest.mark.slow
def test_broken_downloads_are_made_good_or_refused_and_slow_ones_wait(root, tmp_path):
    faults = {
        "datasets/odd/once": Fault(truncated="once"),
        "datasets/odd/always": Fault(truncated="always"),
        "datasets/odd/slow": Fault(delay=0.05, chunk_seconds=0.05),
    }
    parts = [texts_of(f"odd/{name}") for name in ("once", "always", "slow")]
    with hub_server(root, faults) as server:
        once, always, slow = ask(server, tmp_path, *parts).found
        assert once == ["a b c"] * 3 and slow == ["a b c"] * 40_000
        assert always.startswith("data set odd/always: the download broke off")
        server.faults.clear()  # the hub recovers
        assert ask(server, tmp_path, parts[1]).found[0] == ["a b c"] * 3
