"""The answers of tests/support/hub_server.py: the hub's routes for repositories and their files."""

import hashlib
import json
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.support.hub_facts import (
    GOOD_TOKEN,
    POOR_TOKEN,
    Asked,
    Fault,
    commit_of,
    entry,
    files,
    large,
)


class _Refused(Exception):
    """An answer other than content: status, the hub's error code, its message, when to ask again.

    Status 0 stands for no answer at all.
    """

    def __init__(self, status: int, code: str = "", message: str = "", wait: str = "") -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message, self.wait = status, code, message, wait


def _file_of_many(number: int) -> str:
    language, part = divmod(number, 1024)
    return f"multilingual/c4-{language:02d}.tfrecord-{part:05d}-of-01024.json.gz"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, *_: Any) -> None:
        pass

    @property
    def hub(self) -> Any:
        return self.server.hub

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        try:
            self._route(unquote(urlsplit(self.path).path).strip("/").split("/"), body)
        except _Refused as refused:
            if not refused.status:
                return self._drop()
            headers = {"X-Error-Code": refused.code, "X-Error-Message": refused.message}
            headers["Retry-After"] = refused.wait
            headers = {key: value for key, value in headers.items() if value}
            self._send(refused.status, {"error": refused.message or "refused"}, headers)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_HEAD = do_POST = do_GET

    def _route(self, parts: list[str], body: str) -> None:
        if parts == ["api", "whoami-v2"]:
            if self._token() not in (GOOD_TOKEN, POOR_TOKEN):
                raise _Refused(401, message="Invalid credentials in Authorization header")
            self._send(200, {"type": "user", "name": "someone", "orgs": [], "auth": {}})
        elif parts[0] == "cdn":
            fault, folder = self._repository(parts[1:4])
            self._content(fault, folder.joinpath(*parts[4:]))
        elif parts[0] == "api" and parts[1:2] in (["models"], ["datasets"]) and len(parts) > 3:
            self._api(parts[1], parts[2:4], parts[4:], body)
        else:
            kind = "datasets" if parts[0] == "datasets" else "models"
            rest = parts[1:] if kind == "datasets" else parts
            if len(rest) < 5 or rest[2] != "resolve":
                raise _Refused(404)
            self._resolve(kind, rest[:2], rest[3], "/".join(rest[4:]))

    def _token(self) -> str | None:
        scheme, _, token = (self.headers.get("Authorization") or "").partition(" ")
        return token if scheme == "Bearer" else None

    def _repository(self, parts: list[str]) -> tuple[Fault, Path]:
        fault = self.hub.faults.get("/".join(parts), Fault())
        time.sleep(fault.delay)
        if self._due("drops", parts, fault.drops):
            raise _Refused(0)
        if self._due("busy", parts, fault.busy):
            raise _Refused(429, message="Too Many Requests", wait=str(fault.retry_after))
        if fault.status is not None:
            raise _Refused(fault.status, message="planted fault")
        folder = self.hub.root.joinpath(*parts)
        if self._token() not in (None, GOOD_TOKEN, POOR_TOKEN):
            raise _Refused(401, message="Invalid credentials in Authorization header")
        if not folder.is_dir():  # as the hub does: it tells nobody what is private
            if self._token() is None:
                raise _Refused(401, message="Invalid username or password.")
            raise _Refused(404, "RepoNotFound", "Repository not found")
        return fault, folder

    def _due(self, what: str, parts: list[str], times: int) -> bool:
        """Whether a misfortune that comes so many times comes now."""
        key = (what, "/".join(parts))
        self.hub.met[key] += 1
        return bool(self.hub.met[key] <= times)

    def _drop(self) -> None:
        self.hub.log.append(Asked(self.command, self.path, None, None, 0))
        self.close_connection = True

    def _revision(self, folder: Path, revision: str) -> str:
        commit = commit_of(folder)
        if revision not in ("main", commit):
            raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    def _api(self, kind: str, name: list[str], rest: list[str], body: str) -> None:
        fault, folder = self._repository([kind, *name])
        if rest[:1] == ["auth-check"]:
            self._refuse_gated(fault, "/".join(name))
            self._send(200, {})
        elif rest[:1] in ([], ["revision"]):
            self._info(fault, folder, "/".join(name), rest[1] if rest else "main")
        elif rest[0] == "refs":
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": commit_of(folder)}
            self._send(200, {"branches": [main], "tags": [], "converts": []})
        elif rest[0] == "tree":
            self._revision(folder, rest[1])
            self._tree(folder, folder.joinpath(*rest[2:]))
        elif rest[0] == "paths-info":
            self._revision(folder, rest[1])
            asked = (folder / path for path in parse_qs(body).get("paths", []))
            self._send(200, [entry(path, folder) for path in asked if path.exists()])
        else:
            raise _Refused(404)

    def _info(self, fault: Fault, folder: Path, name: str, revision: str) -> None:
        commit = self._revision(folder, revision)
        siblings = [{"rfilename": p.relative_to(folder).as_posix()} for p in files(folder)]
        facts: dict[str, Any] = {"id": name, "modelId": name, "sha": commit, "siblings": siblings}
        facts |= {"private": False, "disabled": False, "tags": [], "downloads": 0, "likes": 0}
        facts["gated"] = "manual" if fault.gated else False
        facts["lastModified"] = "2024-01-01T00:00:00.000Z"
        asked = parse_qs(urlsplit(self.path).query).get("expand")
        if asked:
            return self._send(200, {key: facts[key] for key in ("id", *asked)})
        siblings += [{"rfilename": _file_of_many(number)} for number in range(fault.listed)]
        self._send(200, facts, rate=fault.rate)

    def _tree(self, repository: Path, folder: Path) -> None:
        if not folder.is_dir():
            raise _Refused(404, "EntryNotFound", "no such folder")
        query = parse_qs(urlsplit(self.path).query)
        deep = query.get("recursive", ["false"])[0].lower() in ("true", "1")
        found = folder.rglob("*") if deep else folder.iterdir()
        self._send(200, [entry(path, repository) for path in sorted(found)])

    def _refuse_gated(self, fault: Fault, name: str) -> None:
        if fault.gated and self._token() != GOOD_TOKEN:
            status = 401 if self._token() is None else 403
            raise _Refused(status, "GatedRepo", f"Access to model {name} is restricted.")

    def _resolve(self, kind: str, name: list[str], revision: str, file: str) -> None:
        fault, folder = self._repository([kind, *name])
        self._refuse_gated(fault, "/".join(name))
        commit = self._revision(folder, revision)
        path = folder / file
        if not path.is_file():
            raise _Refused(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": commit}
        if not large(path):
            return self._content(fault, path, headers)
        described = entry(path, folder)
        headers["X-Linked-Etag"] = f'"{described["lfs"]["oid"]}"'
        headers["X-Linked-Size"] = str(described["size"])
        # Another host, so that a token sent there would be a leak.
        elsewhere = self.hub.url.replace("127.0.0.1", "localhost")
        headers["Location"] = f"{elsewhere}/cdn/{kind}/{'/'.join(name)}/{quote(file)}"
        self._send(302, None, headers)

    def _content(self, fault: Fault, file: Path, headers: dict[str, str] | None = None) -> None:
        """The bytes of `file`, or the range asked for; on the way whatever the fault does."""
        content = file.read_bytes()
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', **(headers or {})}
        headers["Accept-Ranges"] = "bytes"
        status, total = 200, len(content)
        asked = self.headers.get("Range")
        if asked:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last or total - 1), total - 1)
            if start >= total:
                raise _Refused(416)
            status, content = 206, content[start : stop + 1]
            headers["Content-Range"] = f"bytes {start}-{stop}/{total}"
        self._begin(status, len(content), headers)
        if self.command == "HEAD":
            return
        if large(file) and (
            fault.truncated == "always" or (fault.truncated == "once" and file not in self.hub.cut)
        ):
            self.hub.cut.add(file)
            content = content[: len(content) // 2]
            self.close_connection = True
        for start in range(0, len(content), 2**16):
            time.sleep(fault.chunk_seconds)
            self.wfile.write(content[start : start + 2**16])

    def _send(
        self,
        status: int,
        value: Any,
        headers: dict[str, str] | None = None,
        rate: float = float("inf"),
    ) -> None:
        body = b"" if value is None else json.dumps(value).encode()
        self._begin(status, len(body), {"Content-Type": "application/json", **(headers or {})})
        if self.command == "HEAD":
            return
        for start in range(0, len(body), 2**16):
            time.sleep(2**16 / rate)
            self.wfile.write(body[start : start + 2**16])

    def _begin(self, status: int, length: int, headers: dict[str, str]) -> None:
        authorization, span = self.headers.get("Authorization"), self.headers.get("Range")
        self.hub.log.append(Asked(self.command, self.path, authorization, span, status))
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
