"""Models from a hub: a real server on loopback, and the real libraries that fetch from it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.hub_data import serve_model
from tests.support.hub_facts import commit_of
from tests.support.hub_server import GOOD_TOKEN, POOR_TOKEN, Fault, HubServer, hub_server
from tests.support.runs import environment, python, sparc
from tests.support.stand_ins import stand_in

LLAMA, OPT = "stand-ins/tiny-llama", "stand-ins/tiny-opt"
ROOT = Path(__file__).parents[2]
BAD = "hf_badBADbadBADbadBADbadBADbadBADbad1"


def _add_ballast(file: Path) -> None:
    """24 MB more, in a buffer that no model reads: downloads go on from the last whole 10 MB."""
    surplus = {"model.decoder.rotary_emb.inv_freq": torch.zeros(6 * 10**6)}
    save_file(load_file(file) | surplus, file, {"format": "pt"})


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    root = tmp_path_factory.mktemp("hub")
    faults = {
        "models/stand-ins/gated": Fault(gated=True),
        "models/stand-ins/broken": Fault(status=503),
        "models/stand-ins/cut-once": Fault(truncated="once"),
        "models/stand-ins/cut": Fault(truncated="always"),
        "models/stand-ins/slow": Fault(delay=0.2, chunk_seconds=0.2),
        "models/stand-ins/silent": Fault(delay=30),
    }
    serve_model(root, stand_in("llama"), LLAMA)
    for name in (OPT, *(fault.removeprefix("models/") for fault in faults)):
        folder = serve_model(root, stand_in("opt"), name)
        if "cut" in name:
            _add_ballast(folder / "model.safetensors")
    with hub_server(root, faults) as server:
        yield server


def _loads(hub: HubServer, home: Path, *cases: dict[str, Any]) -> list[dict[str, Any]]:
    env = environment(home, **hub.environment())
    done = python("-m", "tests.support.hub_loads", json.dumps(cases), cwd=ROOT, env=env)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


REFUSALS = [
    ("stand-ins/gated", None, None, "gated, and no token here"),
    ("stand-ins/gated", POOR_TOKEN, None, "gated, and this token has no access"),
    (LLAMA, BAD, None, "the hub rejects the token"),
    ("stand-ins/absent", None, None, "no such repository on the hub"),
    ("stand-ins/absent", GOOD_TOKEN, None, "no such repository on the hub"),
    (LLAMA, None, "v9", "no such revision"),
    ("stand-ins/broken", None, None, "HTTP 503"),
    ("stand-ins/silent", None, None, "no answer from the hub"),
    ("stand-ins/cut", None, None, "broke off"),
]


@dataclass(frozen=True)
class Refusals:
    """What was told, in the order of REFUSALS, and the home that it left."""

    found: list[dict[str, Any]]
    home: Path


@pytest.fixture(scope="module")
def refusals(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Refusals:
    cases = [{"path": name, "token": t, "revision": r} for name, t, r, _ in REFUSALS]
    home = tmp_path_factory.mktemp("refused")
    return Refusals(_loads(hub, home, *cases), home)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(REFUSALS)), ids=[each[3] for each in REFUSALS])
def test_what_a_hub_refuses_is_one_line(number: int, refusals: Refusals) -> None:
    (name, token, _, told), found = REFUSALS[number], refusals.found[number]
    assert found["error"].startswith(f"model.path={name}: ") and told in found["error"]
    assert "\n" not in found["error"] and found["fingerprint"] == ""
    assert found["pauses"] < (60 if name == "stand-ins/cut" else 10)  # a cut one is tried again
    assert (token or "hf_") not in found["error"]


@pytest.mark.slow
def test_what_a_hub_grants_is_loaded(hub: HubServer, tmp_path: Path) -> None:
    pinned = commit_of(hub.root / "models" / LLAMA)
    cases: list[dict[str, Any]] = [
        {"path": "stand-ins/gated", "token": GOOD_TOKEN},
        {"path": LLAMA, "revision": pinned},
        {"path": OPT},
        {"path": "stand-ins/slow"},
        {"path": "stand-ins/cut-once"},
    ]
    found = _loads(hub, tmp_path, *cases)
    assert [each["error"] for each in found] == [""] * len(cases)
    commits = [commit_of(hub.root / "models" / each["path"]) for each in cases]
    expected = [f"{each['path']}@{commit}" for each, commit in zip(cases, commits, strict=True)]
    assert [each["fingerprint"] for each in found] == expected
    resumed = [each for each in hub.log if "cut-once/model.saf" in each.path and each.range]
    assert [each.status for each in resumed] == [206]
    elsewhere = [each for each in hub.log if each.path.startswith("/cdn/")]
    assert elsewhere and all(each.authorization is None for each in elsewhere)


@pytest.mark.slow
def test_a_cut_download_is_never_half_used(hub: HubServer, refusals: Refusals) -> None:
    left = [path.name for path in refusals.home.rglob("models--stand-ins--cut/**/*")]
    assert "config.json" in left
    assert not [name for name in left if name.endswith((".incomplete", ".safetensors"))]
    told = sparc("model=hf", "model.path=stand-ins/cut", home=refusals.home)
    assert told.returncode == 1 and "does not hold it whole" in told.stderr
    hub.faults["models/stand-ins/cut"] = Fault()
    (found,) = _loads(hub, refusals.home, {"path": "stand-ins/cut"})
    assert found["fingerprint"] == f"stand-ins/cut@{commit_of(hub.root / 'models/stand-ins/cut')}"


@pytest.mark.slow
@pytest.mark.parametrize("offline", ["0", "1"])
def test_no_network(offline: str, tmp_path: Path) -> None:
    reach = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": offline}
    told = sparc("model=hf", f"model.path={OPT}", home=tmp_path, **reach)
    assert told.returncode == 1
    (line,) = told.stderr.strip().splitlines()
    assert line.startswith(f"sparc: model.path={OPT}: ") and "stage=prefetch" in line
    assert ("HF_HUB_OFFLINE=1" in line) == (offline == "1")
