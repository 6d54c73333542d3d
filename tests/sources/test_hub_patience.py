"""A hub under load, far away or strict: waits, drops and long lists are survived, and what is
cached is not asked for. In this process: its libraries are pointed at a server on loopback."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparc.config import ModelConfig, SourceConfig
from sparc.config.locations import EMBEDDED_MODEL
from sparc.errors import UserError
from sparc.models.model import load_model
from sparc.sources import patience
from sparc.sources.hub import probe
from sparc.sources.hub_models import is_whole, model_folder_of
from sparc.sources.streams import pinned
from tests.support.hub_data import serve_model
from tests.support.hub_facts import commit_of
from tests.support.hub_server import Fault, HubServer, hub_server

C4 = "org/huge"
MODEL = "org/model"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hub")
    folder = root / "datasets" / C4
    folder.mkdir(parents=True)
    (folder / "data.jsonl").write_text('{"text": "a b c"}\n')
    serve_model(root, EMBEDDED_MODEL, MODEL)
    return root


@pytest.fixture
def hub(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """The server, which this process asks for one test."""
    with hub_server(root) as server:
        server.use_here(monkeypatch, tmp_path)
        monkeypatch.setattr(patience, "_waiting", patience._Waiting())
        yield server


def _model() -> str:
    return load_model(ModelConfig(name="m", path=MODEL), "cpu").fingerprint


def test_a_data_set_of_68_000_files_behind_a_slow_line_is_there(hub: HubServer) -> None:
    hub.faults[f"datasets/{C4}"] = Fault(listed=68_000, rate=600_000)
    started = time.monotonic()
    assert probe(C4, None, "data", kind="dataset") == commit_of(hub.root / "datasets" / C4)
    assert time.monotonic() - started < 4  # the list alone takes 8 s


def test_a_hub_that_asks_to_wait_is_waited_for_and_that_is_said_once(
    hub: HubServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sparc.sources.hub.ANSWER_SECONDS", 1.5
    )  # waiting takes longer than silence may
    hub.faults[f"models/{MODEL}"] = Fault(busy=2)
    started = time.monotonic()
    assert probe(MODEL, None, "model") == commit_of(hub.root / "models" / MODEL)
    assert 2 <= time.monotonic() - started < 6
    assert [r.levelname for r in caplog.records if "asks to wait 1 s" in r.message] == ["WARNING"]
    hub.met.clear()
    hub.faults[f"models/{MODEL}"] = Fault(busy=1)
    assert _model().endswith(commit_of(hub.root / "models" / MODEL))
    assert [each.status for each in hub.log].count(429) == 3


def test_it_is_not_waited_for_without_end(hub: HubServer) -> None:
    hub.faults[f"datasets/{C4}"] = Fault(busy=99, retry_after=4000)
    started = time.monotonic()
    with pytest.raises(UserError, match=r"^data: .*HTTP 429, too many requests.*\Z") as caught:
        probe(C4, None, "data", kind="dataset")
    assert time.monotonic() - started < 4 and "\n" not in str(caught.value)


def test_dropped_requests_are_repeated_and_not_for_ever(hub: HubServer) -> None:
    hub.faults |= {f"datasets/{C4}": Fault(drops=2), f"models/{MODEL}": Fault(drops=2)}
    assert probe(C4, None, "data", kind="dataset")
    assert _model().startswith(f"{MODEL}@")
    hub.met.clear()
    hub.faults[f"datasets/{C4}"] = Fault(drops=99)
    with pytest.raises(UserError, match=r"^data: the download broke off.*\Z"):
        probe(C4, None, "data", kind="dataset")
    hub.faults[f"datasets/{C4}"] = Fault(gated=True)
    with pytest.raises(UserError, match=r"^data: gated, and no token here.*\Z"):
        probe(C4, None, "data", kind="dataset")


def test_of_what_is_cached_whole_nothing_is_asked(hub: HubServer, tmp_path: Path) -> None:
    source = SourceConfig(path=C4)
    first = _model(), pinned(source, tmp_path).revision
    hub.log.clear()
    assert (_model(), pinned(source, tmp_path).revision) == first
    assert load_model(ModelConfig(name="m", path=MODEL, revision=first[0][-40:]), "cpu")
    assert hub.log == []
    (hub.root / "datasets" / C4 / "more.jsonl").write_text('{"text": "d"}\n')
    assert pinned(source, tmp_path).revision == first[1]  # one commit for all jobs of a sweep
    moved = commit_of(hub.root / "datasets" / C4)
    assert pinned(source, tmp_path, newest=True).revision == moved != first[1]
    assert pinned(source, tmp_path).revision == moved
    assert len(hub.log) == 1


def test_what_is_cached_in_part_is_completed(hub: HubServer) -> None:
    folder = model_folder_of(MODEL, None, "model", weights=False)
    assert not list(folder.glob("*.safetensors")) and not is_whole(MODEL, None)
    assert _model().endswith(folder.name)
    (folder / "tokenizer.json").unlink()
    assert not is_whole(MODEL, None)
    assert _model().endswith(folder.name) and is_whole(MODEL, None)
