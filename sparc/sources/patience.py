"""A hub that asks to wait, or drops a connection, is asked again; everybody's requests pass here.

The hub counts requests in windows of five minutes, by address: the jobs of a sweep share one. Its
own libraries treat some answers 429 as errors, take others for a file that is not there, and wait
without a limit and a word for the rest.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import huggingface_hub
from huggingface_hub.utils._http import default_client_factory, parse_ratelimit_headers

LONGEST = 330.0  # seconds that are waited in all: the hub's window and a little
_DROPPED = (0.3, 1.0)  # seconds until a request is repeated whose connection broke
_USUAL = 5.0  # seconds, where the hub does not say how long
_TOO_MANY = 429
_log = logging.getLogger(__name__)


@dataclass
class _Waiting:
    """In seconds of the monotonic clock."""

    since: float | None = None
    """When the hub first asked to wait; None where its last answer was another one."""
    until: float = 0.0
    """When the last such wait ends."""


_waiting = _Waiting()  # of this process, as the hub counts by address


def seconds_left() -> float:
    """How long the hub has asked this process to wait from now on; 0 where it has not."""
    return max(0.0, _waiting.until - time.monotonic())


def use() -> None:
    """Let all requests of huggingface_hub in this process, also for other libraries, be patient."""
    huggingface_hub.set_client_factory(_client)


def _client() -> httpx.Client:
    client = default_client_factory()
    send = client.send
    client.send = lambda request, **options: _sent(send, request, options)  # type: ignore[method-assign]
    return client


def _sent(send: Callable[..., httpx.Response], request: Any, options: Any) -> httpx.Response:
    pauses = iter(_DROPPED)
    while True:
        try:
            response = send(request, **options)
        except (httpx.RemoteProtocolError, httpx.ReadError):
            pause = next(pauses, None)
            if pause is None:
                raise
            time.sleep(pause)
            continue
        if response.status_code != _TOO_MANY:
            _waiting.since = None
            return response
        if not _wait(response):
            return response
        response.close()


def _wait(response: httpx.Response) -> bool:
    """Wait as long as the answer asks for; False, at once, where that is too long in all."""
    now, seconds = time.monotonic(), _asked(response)
    first = _waiting.since is None
    since = _waiting.since = now if _waiting.since is None else _waiting.since
    if now + seconds > since + LONGEST:
        for name in ("retry-after", "ratelimit"):  # the library would obey, however long it is
            response.headers.pop(name, None)
        return False
    if first:
        _log.warning(
            "the hub asks to wait %.0f s (HTTP 429: many requests from this address); waiting",
            seconds,
        )
    _waiting.until = max(_waiting.until, now + seconds)
    time.sleep(seconds)
    return True


def _asked(response: httpx.Response) -> float:
    """Seconds until the hub wants to be asked again."""
    said = response.headers.get("retry-after", "")
    if said.isdigit():
        return max(1.0, float(said))
    limit = parse_ratelimit_headers(response.headers)
    return max(1.0, limit.reset_in_seconds) if limit and limit.remaining == 0 else _USUAL
