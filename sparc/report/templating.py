"""What every page is made with: templates, inlined assets, a security policy."""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sparc.display import numbers
from sparc.display.plain import visible
from sparc.report.marks import Figure, sample


def page(template: str, *styles: str, script: str = "", **context: Any) -> str:
    """The page of a template, with style sheets and a script inlined; it loads nothing.

    Texts are escaped and spelt out where they are invisible.
    """
    style = "".join(map(_asset, styles))
    running = _asset(script) if script else ""
    return (
        _environment()
        .get_template(template)
        .render(
            **context,
            style=Markup(style),
            script=Markup(running),
            policy=_policy(style, running),
        )
    )


def figure_page(figure: Figure) -> str:
    """One chart as a page of its own."""
    return page("single.html.j2", "report.css", each=figure)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("sparc.report"),
        autoescape=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "duration": numbers.duration,
        "brief": numbers.brief,
        "percent": numbers.percent,
        "known": lambda value: numbers.MISSING if value is None else value,
        # below the page's folder and relative, so that it names no scheme
        "address": lambda path: f"./{quote(path)}",
    }
    made.globals |= {"sample": sample}
    return made


@cache
def _asset(name: str) -> str:
    return (files("sparc.report") / "templates" / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Content security policy: this style and this script by their hashes, and nothing else."""

    def hashed(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    return (
        f"default-src 'none'; style-src 'sha256-{hashed(style)}'; "
        f"script-src 'sha256-{hashed(script)}'; base-uri 'none'; form-action 'none'"
    )
