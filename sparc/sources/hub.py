"""The Hugging Face hub: whether a repository can be had, told in one line and within seconds.

The hub's own libraries fetch the files. Asked about a hub that is not there they try again for
three quarters of a minute, and every refusal is a page of text: so one short question goes first.
"""

import contextlib
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from typing import Any

import httpx
import huggingface_hub
from huggingface_hub import constants, errors
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)
from transformers.utils import logging as transformers_logging

from sparc.errors import UserError
from sparc.sources import patience

_CONNECT_SECONDS = 4.0
ANSWER_SECONDS = 7.0  # of silence after which a hub counts as absent, with name lookup and all
patience.use()


class Unreachable(UserError):
    """The hub does not answer here, or HF_HUB_OFFLINE says not to ask it."""


def offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids every request."""
    return constants.is_offline_mode()


def probe(repository: str, revision: str | None, where: str, kind: str = "model") -> str:
    """The commit hash at `revision` of a repository that the hub lets us read.

    Args:
        repository: Its hub id.
        revision: A branch, tag or commit; None for main.
        where: What to name in errors, such as "model.path=org/name".
        kind: model or dataset.

    Raises:
        Unreachable: Without an answer within seconds.
        UserError: Where the hub refuses: unknown repository or revision, no token, a token
            without access.
    """
    if offline():
        raise Unreachable(f"{where}: HF_HUB_OFFLINE=1 forbids asking the hub")

    def ask() -> str:
        return _commit(repository, revision, kind)

    try:
        return _within(ANSWER_SECONDS, ask)
    except Exception as error:
        raise explained(error, repository, where, kind) from error


def explained(
    error: BaseException, repository: str, where: str, kind: str = "model"
) -> UserError | BaseException:
    """What the hub's libraries raised, as a UserError of one line; other errors as they are."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, errors.HfHubHTTPError | httpx.HTTPStatusError):
            return UserError(f"{where}: {_refusal(cause, repository, kind)}")
    for cause in causes:
        if isinstance(cause, httpx.RemoteProtocolError | httpx.ReadError):
            return UserError(f"{where}: the download broke off; start again, whole files are kept")
        if isinstance(cause, errors.OfflineModeIsEnabled):
            return Unreachable(f"{where}: HF_HUB_OFFLINE=1 forbids asking the hub")
        if isinstance(cause, httpx.TransportError | TimeoutError | ConnectionError):
            reason = type(cause).__name__
            return Unreachable(
                f"{where}: no answer from the hub at {constants.ENDPOINT} ({reason})"
            )
    return error


def _refusal(error: BaseException, repository: str, kind: str) -> str:
    page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{repository}"
    response: httpx.Response | None = getattr(error, "response", None)
    status = None if response is None else response.status_code
    if "Invalid credentials" in (response.headers.get("X-Error-Message", "") if response else ""):
        return "the hub rejects the token: renew it with `hf auth login` or in HF_TOKEN"
    if isinstance(error, errors.GatedRepoError) and huggingface_hub.get_token() is None:
        return (
            f"gated, and no token here: accept its terms at {page}, then `hf auth login` or set "
            "HF_TOKEN"
        )
    if isinstance(error, errors.GatedRepoError):
        return f"gated, and this token has no access: ask for it at {page}"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the hub has no such revision of it: give a branch, tag or commit hash"
    if isinstance(error, errors.EntryNotFoundError):
        return "has no config.json on the hub: not a model for transformers"
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 403, 404):
        return (
            "no such repository on the hub, or a private one that this token does not open: "
            "check the id (or give a local folder)"
        )
    many = ", too many requests from this address" if status == 429 else ""
    return f"the hub answers with an error (HTTP {status}{many}): try again later"


def _commit(repository: str, revision: str | None, kind: str) -> str:
    if kind == "dataset":
        api = huggingface_hub.HfApi()
        # Named facts only: the list of a large data set's files takes longer than it may.
        facts: Any = ["sha", "gated"]
        info = api.dataset_info(repository, revision=revision, timeout=ANSWER_SECONDS, expand=facts)
        if info.gated:
            api.auth_check(repository, repo_type="dataset")
        return str(info.sha)
    # Not the model's information: the hub gives that of a gated repository to everybody.
    url = huggingface_hub.hf_hub_url(repository, "config.json", revision=revision)
    timeout: Any = httpx.Timeout(ANSWER_SECONDS, connect=_CONNECT_SECONDS)
    return str(huggingface_hub.get_hf_file_metadata(url, timeout=timeout).commit_hash)


def _within(seconds: float, ask: Callable[[], str]) -> str:
    """`ask()`, or TimeoutError: looking up a name obeys no timeout of the request's own.

    Time that the hub asks to wait does not count.
    """
    answer: Future[str] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    wait([answer], seconds)
    while not answer.done() and (left := patience.seconds_left()):
        wait([answer], left + seconds)
    return answer.result(timeout=0)


@contextlib.contextmanager
def unasked() -> Iterator[None]:
    """Let the libraries take what the cache holds and ask the hub for nothing, as offline."""
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let the libraries report errors by raising them only; download bars on a terminal only."""
    talkers: tuple[Any, ...] = (transformers_logging, huggingface_hub.logging)
    before = [each.get_verbosity() for each in talkers]
    for each in talkers:
        each.set_verbosity(logging.ERROR)
    silent = not sys.stderr.isatty() and not are_progress_bars_disabled()
    if silent:
        disable_progress_bars()
    try:
        yield
    finally:
        for each, level in zip(talkers, before, strict=True):
            each.set_verbosity(level)
        if silent:
            enable_progress_bars()
