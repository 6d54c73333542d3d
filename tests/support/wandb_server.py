"""A server on loopback that answers as W&B does, just enough, and misbehaves on demand."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Manner = Literal["refuse", "hang", "drop"]


def _reply(body: bytes) -> dict[str, Any]:
    if b"upsertBucket" not in body:
        return {"data": {}}
    project = {"id": "p", "name": "sparc", "entity": {"id": "e", "name": "someone"}}
    name = json.loads(body)["variables"]["name"]
    bucket = {"id": "b", "name": name, "displayName": name, "config": "{}", "project": project}
    return {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}}


@contextlib.contextmanager
def wandb_server(manner: Manner) -> Iterator[tuple[str, list[str]]]:
    """The address of the server and the paths that were asked for, in order.

    refuse: no key is good. hang: no answer, ever. drop: after opening the run, connections break.
    """
    asked: list[str] = []
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append(self.path)
            if manner == "hang":
                closing.wait()
                self.close_connection = True
            elif manner == "drop" and len(asked) > 1:
                self.close_connection = True
            elif manner == "refuse":
                self._answer(401, {"errors": [{"message": "invalid key"}]})
            else:
                self._answer(200, _reply(body))

        do_GET = do_PUT = do_POST

        def _answer(self, code: int, content: dict[str, Any]) -> None:
            data = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        closing.set()
        server.shutdown()
        server.server_close()
