"""A hub on loopback: the routes that the hub's own libraries call, and their misfortunes.

It serves a folder tree `models/ORG/NAME/...` and `datasets/ORG/NAME/...`. Point a process at it
with `HubServer.environment()`: the libraries read HF_ENDPOINT when they are imported.
"""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.hub_answers import Handler
from tests.support.hub_facts import GOOD_TOKEN, POOR_TOKEN, Asked, Fault

__all__ = ["GOOD_TOKEN", "POOR_TOKEN", "Asked", "Fault", "HubServer", "hub_server"]


@dataclass
class HubServer:
    """A running server; `faults` (by "models/ORG/NAME") may be changed while it runs."""

    root: Path
    url: str
    faults: dict[str, Fault] = field(default_factory=dict)
    log: list[Asked] = field(default_factory=list)
    cut: set[Path] = field(default_factory=set)
    met: Counter[tuple[str, str]] = field(default_factory=Counter)
    close: Any = None

    def use_here(self, monkeypatch: pytest.MonkeyPatch, home: Path, token: str = "") -> None:
        """Let this process ask this hub, and keep what it downloads below `home`."""
        from huggingface_hub import constants

        for name, value in {
            "ENDPOINT": self.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": self.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_HUB_OFFLINE": False,
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", token)

    def environment(self, token: str | None = None, **extra: str) -> dict[str, str]:
        """Variables of a process that is to use this hub, plus `extra`."""
        found = {"HF_ENDPOINT": self.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        found |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_DATASETS_OFFLINE": "0"}
        return found | ({"HF_TOKEN": token} if token else {}) | extra


@contextlib.contextmanager
def hub_server(root: Path, faults: Mapping[str, Fault] | None = None) -> Iterator[HubServer]:
    """Serve `root` until the block ends, or until `server.close()`.

    faults: "models/ORG/NAME" or "datasets/ORG/NAME" -> what goes wrong there.
    """
    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    server = HubServer(root, f"http://127.0.0.1:{listener.server_port}", dict(faults or {}))
    listener.hub = server  # type: ignore[attr-defined]
    threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True).start()
    closed = False

    def close() -> None:
        nonlocal closed
        if not closed:
            closed = True
            listener.shutdown()
            listener.server_close()

    server.close = close
    try:
        yield server
    finally:
        close()
