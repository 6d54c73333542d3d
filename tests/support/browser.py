"""Debian's Chromium for tests: found or installed, started without a network, never left behind.

Besides, what every page of ours must hold up to in it.
"""

import contextlib
import json
import os
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from tests.support.runs import PATIENCE, until

SIZES = ((1280, 800), (390, 844))
SCHEMES = ("light", "dark")
CHROMIUM = Path("/usr/bin/chromium")
# no sandbox: tests may run as root in a container. The rest keeps Chromium from calling home.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_INSTALL = (
    "apt-get -qq update",
    "apt-get -qq -y -o DPkg::Lock::Timeout=120 --no-install-recommends install chromium",
)


def _install() -> str | None:
    """Install Chromium through apt; the reason where that is not possible."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return "installing it needs root and apt-get"
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in _INSTALL:
        done = subprocess.run(
            command.split(), capture_output=True, text=True, env=environment, timeout=600
        )
        if done.returncode:
            return f"`{command}` failed: {done.stderr.strip()[-300:]}"
    return None


def require_chromium() -> None:
    """Chromium is there afterwards; otherwise the test is skipped, or fails where CI is set."""
    if CHROMIUM.is_file():
        return
    reason = _install()
    if CHROMIUM.is_file():
        return
    message = f"no {CHROMIUM}: {reason or 'apt installed it elsewhere'}"
    if os.environ.get("CI"):
        pytest.fail(message)
    warnings.warn(f"browser tests skipped: {message}", stacklevel=2)  # printed without -rs, too
    pytest.skip(message)


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser; it and its driver end with the block."""
    require_chromium()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=str(CHROMIUM), args=ARGUMENTS, timeout=1000 * PATIENCE
        )
        try:
            yield browser
        finally:
            browser.close()


class Opened:
    """A page opened from disk with the network off, and all that it complained about or asked for.

    complaints: console errors and warnings, uncaught errors and dialogs. requests: addresses.
    """

    def __init__(self, context: Any, path: Path) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page = context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", self._dialog)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _dialog(self, dialog: Any) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def foreign_requests(self) -> list[str]:
        """Requests other than for the page itself."""
        return self.requests[1:]


@contextlib.contextmanager
def opened(
    browser: Any, path: Path, *, width: int = 1280, height: int = 800, scheme: str = "light"
) -> Iterator[Opened]:
    """The file at `path` in a fresh context of the given size and colour scheme."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, offline=True
    )
    context.set_default_timeout(1000 * PATIENCE)
    try:
        yield Opened(context, path)
    finally:
        context.close()


def harmless(each: Opened) -> None:
    """The page has complained about nothing, asked for nothing and run no attack."""
    assert each.complaints == []
    assert each.foreign_requests() == []
    assert each.page.evaluate("window.hacked") is None


def open_details(page: Any) -> None:
    """Unfold all that is folded away."""
    page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true; })")


def fits(page: Any, width: int) -> None:
    """Nothing makes the page wider than the screen."""
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def in_first_viewport(page: Any, selector: str, height: int) -> None:
    """The element is seen whole before anybody scrolls."""
    box = page.locator(selector).bounding_box()
    assert box["y"] >= 0 and box["y"] + box["height"] <= height


def no_grave_violation(page: Any) -> None:
    """Axe finds nothing serious or critical."""
    found = Axe().run(page).response["violations"]
    grave = [one["id"] for one in found if one["impact"] in ("serious", "critical")]
    assert grave == [], json.dumps(found)[:3000]


def policy_stops_scripts(each: Opened, element: str) -> None:
    """A script that got into `element` in spite of all is stopped by the page's policy."""
    attack = (
        f"document.getElementById('{element}').innerHTML = '<img src=x onerror=\"hacked = 1\">'"
    )
    each.page.evaluate(attack)
    until("a complaint", lambda: each.page.wait_for_timeout(20) or each.complaints)
    assert each.page.evaluate("window.hacked") is None
    assert any("Content Security Policy" in text for text in each.complaints)
