"""make audit: advisories are told, and no answer is never taken for a clean one."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from scripts.audit import audit
from scripts.lock import ROOT

PINS = {"one": "1.0", "two": "2.0"}


@contextmanager
def database(answer: Any, code: int = 200) -> Iterator[tuple[str, list[Any]]]:
    """An advisory database on loopback that always says the same; its address, what was asked."""
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(code)
            self.end_headers()
            self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_advisories_are_told_and_are_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    answer = {"results": [{}, {"vulns": [{"id": "PYSEC-2"}, {"id": "GHSA-1"}]}]}
    with database(answer) as (address, asked):
        assert audit(PINS, address) == 1
    out = capsys.readouterr().out
    assert "two==2.0: GHSA-1, PYSEC-2 (" in out and "2 packages, 1 with known advisories" in out
    one, two = asked[0]["queries"]
    assert one == {"package": {"name": "one", "ecosystem": "PyPI"}, "version": "1.0"}
    assert two["version"] == "2.0"


def test_a_clean_answer_is_one_to_every_question(capsys: pytest.CaptureFixture[str]) -> None:
    with database({"results": [{}, {}]}) as (address, _):
        assert audit(PINS, address) == 0
    assert "2 packages, 0 with known advisories" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"<html>please sign in</html>", 200),
        ({"results": [{}]}, 200),
        ({"results": [{}, []]}, 200),
        ({"results": [{}, {"vulns": [{}]}]}, 200),
        ([], 200),
        ({"results": [{}, {}]}, 503),
    ],
)
def test_what_is_no_answer_is_no_clean_one(
    answer: Any, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with database(answer, code) as (address, _):
        assert audit(PINS, address) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert "nothing is known of 2 packages" in said.err


def test_without_a_network_it_says_so() -> None:
    with database({}) as (address, _):
        pass  # nobody listens there any more
    done = subprocess.run(
        [sys.executable, "-m", "scripts.audit", "--torch", "2.13.0", "--database", address],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert "run it where there is a network" in done.stderr and done.stderr.count("\n") == 1
